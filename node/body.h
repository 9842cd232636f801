#ifndef NODE_BODY_H
#define NODE_BODY_H

#include "base/err.h"
#include "base/jscan.h"
#include "base/slice.h"
#include "base/text.h"
#include "node/endpoint.h"
#include "residency/decide.h"

#include <stdbool.h>
#include <stddef.h>

/* A stretch of the body, and what stands in its place in the one that goes out. */
struct body_edit {
    size_t at;
    size_t len;
    const char *text; /* NULL: no edit */
};

/* What the journey needs of a JSON request body, taken by the strict scanner in one pass
 * without a tree. Slices point into the body. */
struct body_facts {
    struct slice model;   /* decoded only if it held no escape; see model_at */
    size_t model_at;      /* offset of the value's opening quote */
    size_t model_len;     /* with both quotes */
    struct body_edit ask; /* makes it say stream_options.include_usage: true; none where it does,
                             or where its stream_options are none that can be told */
    bool stream;
    bool points_outside;      /* a reference that the tenant's policy does not name */
    struct slice remote_host; /* its host; empty when it names none */
    const char *why;          /* after an error: what is wrong, a static text */
    const char *param;        /* ... and which member, or NULL */
    char doubled[64];         /* param, where a key is there twice */
};

/* tenant names the hosts that a body may point to (NULL: none). Refused as ERR_BADMSG:
 * anything but a strict JSON object, no string "model", "stream" that is no boolean, and what
 * lives on a server: "store": true, "background": true, "previous_response_id",
 * "conversation", "container", a stored "prompt", names of files ("file_id" and the like).
 * Remote references: any string at a member whose name ends in "url" or "uri" (whatever case)
 * that does not start with "data:", an image or audio text with a scheme, tools of any type
 * but those that the caller runs itself, "mcp_servers", "web_search_options". What the caller
 * keeps for itself is not looked at: "metadata", and the arguments of past tool calls. */
MUST_USE enum err body_scan(struct slice body, struct jscan_keys *keys,
                            const struct endpoint *endpoint, const struct charter_tenant *tenant,
                            struct body_facts *out);

/* ---- What forms are judged by too ----------------------------------------------------- */

enum body_member {
    BODY_MEMBER_OTHER,
    BODY_MEMBER_URL,    /* names an address */
    BODY_MEMBER_MEDIA,  /* an image or a sound; some servers take an address there too */
    BODY_MEMBER_STORED, /* names what a server holds */
};
enum body_member body_member(struct slice name);
/* A value at a member that names an address; without a host: none that can be told. */
void body_reference(struct slice value, bool unclear, const struct charter_tenant *tenant,
                    struct body_facts *out);

#endif
