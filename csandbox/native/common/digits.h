/* Numbers as text, where snprintf may not be called: it can take locks. */
#ifndef CSB_DIGITS_H
#define CSB_DIGITS_H

#include <stdint.h>

/* Writes text and then number in decimal at `at`, ended by NUL; returns where
 * the NUL stands.  The caller has made room: 20 digits at most. */
static inline char *
csb_digits_append(char *at, const char *text, uint64_t number)
{
    char digits[20];
    unsigned count = 0;

    while (*text != '\0') {
        *at++ = *text++;
    }
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    while (count > 0) {
        *at++ = digits[--count];
    }
    *at = '\0';
    return at;
}

#endif
