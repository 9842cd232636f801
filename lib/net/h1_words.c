#include "net/h1.h"

#include "base/check.h"

static const struct {
    int status;
    const char *text;
} faults[] = {
#define H1_FAULT_ROW(name, status, text) [name] = {status, text},
    H1_FAULT_LIST(H1_FAULT_ROW)
#undef H1_FAULT_ROW
};
_Static_assert(ARRAY_COUNT(faults) == H1_FAULT_COUNT, "one row a fault");

const char *
h1_fault_text(enum h1_fault fault)
{
    ASSERT((size_t)fault < ARRAY_COUNT(faults));
    return faults[fault].text;
}

int
h1_fault_status(enum h1_fault fault)
{
    ASSERT((size_t)fault < ARRAY_COUNT(faults));
    return faults[fault].status;
}

/* What this program answers itself, and what backends commonly answer. */
static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {100, "Continue"},
    {102, "Processing"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {499, "Client Closed Request"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {511, "Network Authentication Required"},
};

/* Never NULL: a status without a row has the empty reason, which RFC 9112 allows. */
const char *
h1_status_reason(int status)
{
    for (size_t i = 0; i < ARRAY_COUNT(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "";
}
