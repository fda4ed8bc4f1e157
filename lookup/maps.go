package lookup

import (
	"context"
	"strings"
)

// Tables is a list of tables that answers as one: each key is looked up in all
// of them, in order, and the first value found counts. An error ends the
// search: what stands behind a broken table is not asked. A nil table has no
// keys.
type Tables []LookupTable

// Maps makes one table of a list, as the parameters of Postfix that end in
// _maps do.
func Maps(t ...LookupTable) Tables { return t }

// Lookup asks the tables in order.
func (l Tables) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	for _, t := range l {
		if t == nil {
			continue
		}
		if value, ok, err = t.Lookup(ctx, key); ok || err != nil {
			return value, ok, err
		}
	}
	return "", false, nil
}

// LookupPartial asks those of the tables that take parts of keys.
func (l Tables) LookupPartial(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	for _, t := range l {
		if t == nil {
			continue
		}
		if value, ok, err = LookupPartial(ctx, t, key); ok || err != nil {
			return value, ok, err
		}
	}
	return "", false, nil
}

// FullKeyOnly reports whether none of the tables takes parts of keys.
func (l Tables) FullKeyOnly() bool {
	for _, t := range l {
		if t != nil && !FullKeyOnly(t) {
			return false
		}
	}
	return true
}

// UnionTable is what Union makes.
type UnionTable struct{ tables Tables }

// Union makes a table that joins the values of all tables that have the key,
// in order and with "," between them, as Postfix's unionmap does. The empty
// values among them are left out. An error of any table is the answer.
func Union(t ...LookupTable) UnionTable { return UnionTable{tables: t} }

// Lookup asks all the tables.
func (u UnionTable) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return u.join(key, func(t LookupTable) (string, bool, error) { return t.Lookup(ctx, key) })
}

// LookupPartial asks those of the tables that take parts of keys.
func (u UnionTable) LookupPartial(ctx context.Context, key string) (value string, ok bool, err error) {
	return u.join(key, func(t LookupTable) (string, bool, error) { return LookupPartial(ctx, t, key) })
}

// FullKeyOnly reports whether none of the tables takes parts of keys.
func (u UnionTable) FullKeyOnly() bool { return u.tables.FullKeyOnly() }

func (u UnionTable) join(key string, ask func(LookupTable) (string, bool, error)) (string, bool, error) {
	if key == "" {
		return "", false, nil
	}
	var values []string
	found := false
	for _, t := range u.tables {
		if t == nil {
			continue
		}
		value, ok, err := ask(t)
		if err != nil {
			return "", false, err
		}
		found = found || ok
		if ok && value != "" {
			values = append(values, value)
		}
	}
	return strings.Join(values, ","), found, nil
}
