/* CRC-32C of hash.h: the processor's own instruction where there is one, otherwise
 * eight bytes a step through eight tables ("slicing by 8").
 *
 * A CRC is linear, so each table follows from its entries for the eight single bits;
 * the compiler works the other 248 out. Table k is the effect of a byte that stands
 * k bytes before the end of the step. */
#include "crypto/hash.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#define STEP 8

#define BIT(v, i, c) (-((uint32_t)(v) >> (i)&1u) & (c))
#define ENTRY(v, a, b, c, d, e, f, g, h)                                                       \
    (BIT(v, 0, a) ^ BIT(v, 1, b) ^ BIT(v, 2, c) ^ BIT(v, 3, d) ^ BIT(v, 4, e) ^ BIT(v, 5, f) ^ \
     BIT(v, 6, g) ^ BIT(v, 7, h))
#define ROW4(v, ...)                                                                 \
    ENTRY(v, __VA_ARGS__), ENTRY((v) + 1, __VA_ARGS__), ENTRY((v) + 2, __VA_ARGS__), \
        ENTRY((v) + 3, __VA_ARGS__)
#define ROW16(v, ...)                                                             \
    ROW4(v, __VA_ARGS__), ROW4((v) + 4, __VA_ARGS__), ROW4((v) + 8, __VA_ARGS__), \
        ROW4((v) + 12, __VA_ARGS__)
#define ROW64(v, ...)                                                                  \
    ROW16(v, __VA_ARGS__), ROW16((v) + 16, __VA_ARGS__), ROW16((v) + 32, __VA_ARGS__), \
        ROW16((v) + 48, __VA_ARGS__)
#define TABLE(...)                                                              \
    {                                                                           \
        ROW64(0, __VA_ARGS__), ROW64(64, __VA_ARGS__), ROW64(128, __VA_ARGS__), \
            ROW64(192, __VA_ARGS__)                                             \
    }

/* Rows: the CRC of bytes 1, 2, 4 ... 128 followed by k zero bytes, polynomial 0x1edc6f41
 * reflected. */
static const uint32_t table[STEP][256] = {
    TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc,
          0x82f63b78),
    TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604,
          0xfbc3faf9),
    TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9,
          0x8b277743),
    TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7,
          0x52a0c93f),
    TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae,
          0x6ea2d55c),
    TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb,
          0x1c08b7d6),
    TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a,
          0xf56e0ef4),
    TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32,
          0x34019664),
};

static uint32_t
crc_by_table(uint32_t crc, const uint8_t *p, size_t len)
{
    for (; len >= STEP; p += STEP, len -= STEP) {
        uint32_t low = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                              (uint32_t)p[3] << 24);

        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^
              table[4][low >> 24] ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^
              table[0][p[7]];
    }
    for (; len > 0; p++, len--)
        crc = table[0][(crc ^ *p) & 255] ^ crc >> 8;
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
crc_by_instruction(uint32_t crc, const uint8_t *p, size_t len)
{
    uint64_t wide = crc;

    for (; len >= STEP; p += STEP, len -= STEP) {
        uint64_t word;

        memcpy(&word, p, sizeof(word));
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; len > 0; p++, len--)
        crc = _mm_crc32_u8(crc, *p);
    return crc;
}
#endif

uint32_t
hash_crc32c(uint32_t crc, struct slice s)
{
    if (s.len == 0)
        return crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_by_instruction(~crc, s.p, s.len);
#endif
    return ~crc_by_table(~crc, s.p, s.len);
}

uint32_t
hash_crc32c_portable(uint32_t crc, struct slice s)
{
    return s.len == 0 ? crc : ~crc_by_table(~crc, s.p, s.len);
}
