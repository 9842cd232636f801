#ifndef NET_MULTIPART_PRIV_H
#define NET_MULTIPART_PRIV_H

#include "net/multipart.h"

/* The boundary that a Content-Type states: one, 1 to MULTIPART_BOUNDARY_MAX bytes of RFC
 * 2046's characters. False: not the type of a form. */
bool multipart_type_boundary(struct slice content_type, struct slice *out);
/* Takes the head of a part in m->head apart into m->name, is_file, length. */
enum multipart_fault multipart_read_head(struct multipart *m);

#endif
