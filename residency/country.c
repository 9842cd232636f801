#include "residency/country.h"

/* The 249 officially assigned codes of ISO 3166-1 and XK: one row a first letter,
 * the second letters that exist behind it. */
static const char *const second_letters[26] = {
    ['A' - 'A'] = "DEFGILMOQRSTUWXZ",
    ['B' - 'A'] = "ABDEFGHIJLMNOQRSTVWYZ",
    ['C' - 'A'] = "ACDFGHIKLMNORUVWXYZ",
    ['D' - 'A'] = "EJKMOZ",
    ['E' - 'A'] = "CEGHRST",
    ['F' - 'A'] = "IJKMOR",
    ['G' - 'A'] = "ABDEFGHILMNPQRSTUWY",
    ['H' - 'A'] = "KMNRTU",
    ['I' - 'A'] = "DELMNOQRST",
    ['J' - 'A'] = "EMOP",
    ['K' - 'A'] = "EGHIMNPRWYZ",
    ['L' - 'A'] = "ABCIKRSTUVY",
    ['M' - 'A'] = "ACDEFGHKLMNOPQRSTUVWXYZ",
    ['N' - 'A'] = "ACEFGILOPRUZ",
    ['O' - 'A'] = "M",
    ['P' - 'A'] = "AEFGHKLMNRSTWY",
    ['Q' - 'A'] = "A",
    ['R' - 'A'] = "EOSUW",
    ['S' - 'A'] = "ABCDEGHIJKLMNORSTVXYZ",
    ['T' - 'A'] = "CDFGHJKLMNORTVWZ",
    ['U' - 'A'] = "AGMSYZ",
    ['V' - 'A'] = "ACEGINU",
    ['W' - 'A'] = "FS",
    ['X' - 'A'] = "K",
    ['Y' - 'A'] = "ET",
    ['Z' - 'A'] = "AMW",
};

static bool
is_assigned(unsigned first, unsigned second)
{
    return strchr(second_letters[first], (int)('A' + second)) != NULL;
}

enum err
country_parse(struct slice text, uint16_t *out)
{
    unsigned first, second;

    if (text.len != 2 || text.p[0] < 'A' || text.p[0] > 'Z' || text.p[1] < 'A' || text.p[1] > 'Z')
        return ERR_BADMSG;
    first = (unsigned)text.p[0] - 'A';
    second = (unsigned)text.p[1] - 'A';
    if (!is_assigned(first, second))
        return ERR_BADMSG;
    *out = (uint16_t)(first * 26u + second);
    return ERR_OK;
}

bool
country_valid(uint16_t country)
{
    return country < COUNTRY_COUNT && is_assigned(country / 26u, country % 26u);
}

void
country_text(uint16_t country, char out[3])
{
    bool known = country < COUNTRY_COUNT;

    out[0] = known ? (char)('A' + country / 26u) : '?';
    out[1] = known ? (char)('A' + country % 26u) : '?';
    out[2] = '\0';
}

void
country_set_all(struct country_set *set)
{
    *set = (struct country_set){{0}};
    for (uint16_t c = 0; c < COUNTRY_COUNT; c++) {
        if (country_valid(c))
            country_set_add(set, c);
    }
}
