package rewrite

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// ErrExpansion is wrapped when the tables lead an address to too many others, in
// a circle, or nowhere.
var ErrExpansion = errors.New("alias expansion error")

// Postfix's virtual_alias_expansion_limit, virtual_alias_recursion_limit and
// virtual_alias_address_length_limit.
const (
	defaultLimit = 1000
	defaultDepth = 1000
	maxAddress   = 1000
)

// stepsPerResult bounds the addresses that are looked up on the way to Limit
// results, so that tables full of detours cost a bounded time.
const stepsPerResult = 10

// Expander follows a recipient through virtual and aliases until nothing
// replaces it any more. An address is looked for in Virtual first; then one that
// is in Mailboxes stays, and only what is in neither is looked for in Aliases,
// with what Virtual maps to itself.
// The zero value replaces nothing.
//
// An address that comes up again is not followed again. One that is among its
// own results stays as a recipient, which is how "user: user, other" keeps a
// copy; so does one behind a backslash in Aliases. When a circle leaves no recipient
// at all, that is ErrExpansion.
type Expander struct {
	Virtual *Virtual // nil means none
	// Mailboxes has the addresses that Aliases must not replace. Only a user's
	// own entry counts, not one for @domain. nil means none.
	Mailboxes Table
	Aliases   *Aliases // nil means none
	Keys               // for Mailboxes
	Limit     int      // most results for one address; 0 means 1000
	Depth     int      // most replacements on the way to one result; 0 means 1000
}

// Expand returns the addresses that the recipient is replaced by, each once, in
// the order of the tables; the recipient itself when nothing replaces it. The
// error wraps ErrExpansion, ErrSyntax, ErrDisabled, or what a table said.
func (x *Expander) Expand(ctx context.Context, address string) ([]string, error) {
	w := &walk{x: x, seen: map[string]bool{}, found: map[string]bool{}, limit: orDefault(x.Limit, defaultLimit), depth: orDefault(x.Depth, defaultDepth)}
	if err := w.follow(ctx, address, 0); err != nil {
		return nil, fmt.Errorf("expand %.200q: %w", address, err)
	}
	if len(w.results) == 0 {
		return nil, fmt.Errorf("expand %.200q: %w: it leads to no recipient", address, ErrExpansion)
	}
	return w.results, nil
}

func orDefault(n, zero int) int {
	if n <= 0 {
		return zero
	}
	return n
}

// next is one replacement. ok is false when the address stays.
func (x *Expander) next(ctx context.Context, address string) (list []Item, ok bool, err error) {
	if x.Virtual != nil {
		list, ok, err = x.Virtual.next(ctx, address)
	}
	if err != nil || ok && !contains(list, address) {
		return list, ok, err
	}
	// What virtual maps to itself is at its end there, not in Aliases: that is
	// how a user is kept out of the hands of an @domain entry.
	more, aliased, err := x.alias(ctx, address)
	if err != nil || !ok {
		return more, aliased, err
	}
	if aliased {
		list = slices.DeleteFunc(list, func(item Item) bool { return same(item.Text, address) })
	}
	return append(list, more...), true, nil
}

func contains(list []Item, address string) bool {
	return slices.ContainsFunc(list, func(item Item) bool { return same(item.Text, address) })
}

// alias is what Aliases says of an address without a mailbox.
func (x *Expander) alias(ctx context.Context, address string) ([]Item, bool, error) {
	if x.Aliases == nil {
		return nil, false, nil
	}
	if _, ok, err := x.findUser(ctx, x.Mailboxes, address); ok || err != nil {
		return nil, false, wrap("mailboxes", err)
	}
	return x.Aliases.next(ctx, address)
}

// walk is one expansion.
type walk struct {
	x            *Expander
	seen         map[string]bool // the addresses that were followed
	found        map[string]bool // those that are results
	results      []string
	limit, depth int
}

func (w *walk) follow(ctx context.Context, address string, depth int) error {
	switch {
	case len(address) > maxAddress:
		return fmt.Errorf("%w: an address of %d bytes", ErrExpansion, len(address))
	case depth > w.depth:
		return fmt.Errorf("%w: more than %d replacements", ErrExpansion, w.depth)
	case len(w.seen) > stepsPerResult*w.limit+w.depth:
		return fmt.Errorf("%w: more than %d addresses looked up", ErrExpansion, len(w.seen))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	key := fold(address)
	if w.seen[key] {
		return nil
	}
	w.seen[key] = true
	list, ok, err := w.x.next(ctx, address)
	if err != nil {
		return err
	}
	if !ok {
		return w.add(key, address)
	}
	return w.followAll(ctx, key, list, depth+1)
}

// followAll follows what the address of this key is replaced by.
func (w *walk) followAll(ctx context.Context, key string, list []Item, depth int) error {
	if len(list) > w.limit {
		return fmt.Errorf("%w: %d addresses for one", ErrExpansion, len(list))
	}
	for _, item := range list {
		var err error
		if to := fold(item.Text); to == key || item.Own {
			err = w.add(to, item.Text)
		} else {
			err = w.follow(ctx, item.Text, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) add(key, address string) error {
	if w.found[key] {
		return nil
	}
	if len(w.results) == w.limit {
		return fmt.Errorf("%w: more than %d results", ErrExpansion, w.limit)
	}
	w.found[key] = true
	w.results = append(w.results, address)
	return nil
}
