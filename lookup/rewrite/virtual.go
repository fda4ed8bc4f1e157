package rewrite

import (
	"context"
	"fmt"
)

// Virtual replaces a recipient by any number of others, as virtual(5) does, in
// any domain. The zero value replaces nothing.
//
// The key @example.org stands for every user of the domain; as the first of the
// values it keeps the user and replaces the domain. An extension that the key
// did not have is put to every result.
type Virtual struct {
	Table Table // user@domain or @domain to addresses; nil means empty
	Keys
	Origin func() string // domain of results without one; nil or "" means that they stay so
	Limit  int           // most results for one address; 0 means 1000
	Depth  int           // most replacements on the way to one result; 0 means 1000
}

// Expand returns the addresses that the recipient is replaced by, each once; the
// recipient itself when nothing replaces it. A result that stands for itself
// stays. ErrExpansion is wrapped for what is too much, too deep, or never ends.
func (v *Virtual) Expand(ctx context.Context, address string) ([]string, error) {
	x := Expander{Virtual: v, Limit: v.Limit, Depth: v.Depth}
	return x.Expand(ctx, address)
}

// next is one step: what the table says, with the results completed.
func (v *Virtual) next(ctx context.Context, address string) ([]Item, bool, error) {
	m, ok, err := v.find(ctx, v.Table, address)
	if !ok || err != nil {
		return nil, false, wrap("virtual", err)
	}
	list, err := addresses(m.value)
	if err != nil {
		return nil, false, fmt.Errorf("virtual: value of %q: %w", address, err)
	}
	items := make([]Item, len(list))
	for i, value := range list {
		if i > 0 && value[0] == '@' {
			return nil, false, fmt.Errorf("virtual: value of %q: %w: %q must stand first", address, ErrSyntax, value)
		}
		items[i].Text = result(value, address, m.extension, v.Origin)
	}
	return items, true, nil
}

// wrap says which table failed.
func wrap(table string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", table, err)
}
