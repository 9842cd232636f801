#include "base/err.h"

#define ERR_TEXT_ROW(name, text) [name] = text,
static const char *const err_texts[ERR_COUNT] = {ERR_LIST(ERR_TEXT_ROW)};
#undef ERR_TEXT_ROW

const char *
err_text(enum err e)
{
    return (unsigned)e < ERR_COUNT ? err_texts[e] : "unknown error";
}
