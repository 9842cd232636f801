#include "node/models.h"

static bool
role_opens(const struct charter_tenant *tenant, const struct identity *who, uint32_t alias)
{
    if (!tenant->has_roles)
        return true;
    for (size_t i = 0; i < who->role_count; i++) {
        uint32_t r = charter_find_role(tenant, slice_str(who->roles[i]));

        for (size_t k = 0; r != CHARTER_NONE && k < tenant->roles[r].alias_count; k++)
            if (tenant->roles[r].aliases[k] == alias)
                return true;
    }
    return false;
}

void
models_write(const struct charter *charter, const struct identity *who, struct text *out)
{
    const struct charter_tenant *tenant = &charter->tenants[who->tenant];
    bool first = true;

    text_add_str(out, "{\"object\":\"list\",\"data\":[");
    for (uint32_t i = 0; i < tenant->alias_count; i++) {
        if (!role_opens(tenant, who, i))
            continue;
        text_add_str(out, first ? "{\"id\":" : ",{\"id\":");
        text_add_json(out, slice_str(tenant->aliases[i].name));
        text_addf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":",
                  (long long)(charter->issued_ms / 1000));
        text_add_json(out, slice_str(tenant->name));
        text_add_char(out, '}');
        first = false;
    }
    text_add_str(out, "]}\n");
}

static void
write_tag(const struct charter *charter, const struct charter_alias *alias, struct text *out)
{
    text_add_str(out, "{\"name\":");
    text_add_json(out, slice_str(alias->name));
    text_add_str(out, ",\"model\":");
    text_add_json(out, slice_str(alias->name));
    text_add_str(out, ",\"modified_at\":\"");
    text_add_time_ms(out, charter->issued_ms);
    text_add_str(out, "\",\"size\":0,\"digest\":");
    text_add_json(out, slice_str(charter->models[alias->pinned[0]].digest));
    text_add_str(out, ",\"details\":{\"parent_model\":\"\",\"format\":\"\",\"family\":\"\","
                      "\"families\":null,\"parameter_size\":\"\",\"quantization_level\":\"\"}}");
}

void
models_write_tags(const struct charter *charter, const struct identity *who, struct text *out)
{
    const struct charter_tenant *tenant = &charter->tenants[who->tenant];
    bool first = true;

    text_add_str(out, "{\"models\":[");
    for (uint32_t i = 0; i < tenant->alias_count; i++) {
        if (!role_opens(tenant, who, i))
            continue;
        if (!first)
            text_add_char(out, ',');
        write_tag(charter, &tenant->aliases[i], out);
        first = false;
    }
    text_add_str(out, "]}\n");
}
