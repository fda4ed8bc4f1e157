package lookup

import "context"

// TagTable looks a key up with a tag in front of it, as Sendmail's access table
// has them ("Connect:192.0.2.1"), and then without.
//
// It goes inside of a key search: Client(Tag("Connect:", t)) asks t for
// connect:192.0.2.1, 192.0.2.1, connect:192.0.2, 192.0.2 and so on.
type TagTable struct {
	Tag   string // with its colon, in any case; "" asks for the untagged key only
	Table LookupTable
	// TaggedOnly leaves the untagged key out. false tries it second.
	TaggedOnly bool
}

// Tag makes a table that asks t for keys with this tag, "Connect:", and then
// for those without.
func Tag(tag string, t LookupTable) TagTable { return TagTable{Tag: tag, Table: t} }

// Lookup asks for the tagged key in lower case, and then for the untagged one.
func (t TagTable) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" || t.Table == nil {
		return "", false, nil
	}
	if value, ok, err = t.tagged(ctx, key); ok || err != nil || t.TaggedOnly {
		return value, ok, err
	}
	return t.Table.Lookup(ctx, key)
}

// LookupPartial is Lookup for parts of keys.
func (t TagTable) LookupPartial(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" || t.Table == nil {
		return "", false, nil
	}
	if value, ok, err = t.tagged(ctx, key); ok || err != nil || t.TaggedOnly {
		return value, ok, err
	}
	return LookupPartial(ctx, t.Table, key)
}

// tagged asks for the key with the tag: one that was made up here, and so none
// for pattern tables.
func (t TagTable) tagged(ctx context.Context, key string) (value string, ok bool, err error) {
	if t.Tag == "" {
		return "", false, nil
	}
	return LookupPartial(ctx, t.Table, Fold(t.Tag+key))
}

// FullKeyOnly reports whether the table takes whole keys only.
func (t TagTable) FullKeyOnly() bool { return t.Table != nil && FullKeyOnly(t.Table) }
