package rewrite

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrDisabled is wrapped when an alias leads to a |command or a /file, which only
// agents deliver to, or to an :include: while Includes is nil.
var ErrDisabled = errors.New("not enabled")

// Aliases replaces users of our own domains by any number of addresses, as
// aliases(5) does. The zero value replaces nothing.
//
// The key is the local part alone, for every domain of Domains, or user@domain.
// Both forms are tried with and without the address extension, user@domain
// first. A result without a domain gets the domain of the address that it
// replaces.
type Aliases struct {
	Table   Table // local part, or user@domain, to addresses; nil means empty
	Domains Table // our own domains; nil means none, so that nothing is replaced
	// Delimiter is the set of characters that begin an address extension, "+".
	// Extensions are not put to the results, as in Postfix. "" means that there
	// are no extensions.
	Delimiter string
	// Includes opens the files that :include: names: lists of addresses, on as many
	// lines as you like, with comments, and of further files. Each is read once. nil means
	// that includes are not enabled.
	Includes Includes
	// Agent says that an agent asks Destinations at the delivery, such as that of
	// queue/local. Expand leaves to it what only it can do, and returns the address of the
	// alias itself: one that has an owner (with owner-list beside list, what comes back of
	// the list's mail is the owner's), and one that names itself or a "\user".
	Agent bool
	// Commands says that the agent delivers to |commands and /files, and that aliases with
	// some are left to it likewise. false means ErrDisabled for them.
	Commands bool
	Limit    int // most results for one address; 0 means 1000
	Depth    int // most replacements on the way to one result; 0 means 1000
}

// Expand returns the addresses that the recipient is replaced by, each once; the
// recipient itself when nothing replaces it, or when it is one of its own
// results. ErrExpansion is wrapped for what is too much, too deep, or never
// ends; ErrDisabled for commands and files, and for includes without Includes.
func (a *Aliases) Expand(ctx context.Context, address string) ([]string, error) {
	x := Expander{Aliases: a, Limit: a.Limit, Depth: a.Depth}
	return x.Expand(ctx, address)
}

// next is one step: what the table says, with the results completed. ok is false for
// what is left to the agent, too.
func (a *Aliases) next(ctx context.Context, address string) ([]Item, bool, error) {
	value, ok, err := a.find(ctx, address)
	if !ok || err != nil {
		return nil, false, wrap("aliases", err)
	}
	if owned, err := a.owned(ctx, address); owned || err != nil {
		return nil, false, wrap("aliases", err)
	}
	items, err := a.destinations(value)
	if a.left(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("aliases: value of %q: %w", address, err)
	}
	_, domain := Split(address)
	for i, item := range items {
		items[i].Text = result(item.Text, address, "", func() string { return domain })
		if a.Agent && (item.Own || same(items[i].Text, address)) {
			return nil, false, nil
		}
	}
	return items, true, nil
}

// left reports whether an alias that is not enabled here is the agent's.
func (a *Aliases) left(err error) bool { return a.Commands && errors.Is(err, ErrDisabled) }

// owned reports whether an alias has an owner, whom only the agent heeds.
func (a *Aliases) owned(ctx context.Context, address string) (bool, error) {
	if !a.Agent {
		return false, nil
	}
	local, domain := Split(address)
	user, _ := SplitExtension(Unquote(local), a.Delimiter)
	_, ok, err := a.find(ctx, Address{"owner-" + user, domain}.String())
	return ok, err
}

// find looks for user+ext@domain, user@domain, user+ext and user.
func (a *Aliases) find(ctx context.Context, address string) (string, bool, error) {
	_, domain := Split(address)
	if a.Table == nil {
		return "", false, nil
	}
	if own, err := hasDomain(ctx, a.Domains, domain); !own {
		return "", false, err
	}
	k := Keys{Delimiter: a.Delimiter}
	if m, ok, err := k.findUser(ctx, a.Table, address); ok || err != nil {
		return m.value, ok, err
	}
	local, _ := Split(lower(address))
	local = Unquote(local)
	s := search{ctx: ctx, table: a.Table}
	if v, ok, err := s.bare(s.whole, local); ok || err != nil {
		return v, ok, err
	}
	user, extension := SplitExtension(local, a.Delimiter)
	if extension == "" {
		return "", false, nil
	}
	return s.bare(s.parts, user)
}

// Destinations returns what the alias of an address says, one step far, for an agent that
// delivers to commands and files too: addresses in wire form with their domains,
// "|command", "/file". "\user" keeps its backslash. An address whose local part begins
// with "/" or "|" has quotes around that. ok is false when the address has no alias.
// Commands and files in included files are ErrDisabled.
func (a *Aliases) Destinations(ctx context.Context, address string) (list []string, ok bool, err error) {
	value, ok, err := a.find(ctx, address)
	if !ok || err != nil {
		return nil, false, wrap("aliases", err)
	}
	list, err = a.Forward(address, value)
	return list, err == nil, err
}

// Forward reads a list as it stands in aliases(5), or in the .forward file of a user, on
// as many lines as it likes, and returns it in the form of Destinations.
func (a *Aliases) Forward(address, text string) ([]string, error) {
	_, domain := Split(address)
	var list []string
	var bad error
	files := a.inclusion()
	err := logicalLines(strings.NewReader(text), func(line int, text string, err error) {
		if bad != nil {
			return
		}
		if bad = err; bad == nil {
			list, bad = files.deliverable(list, text, domain)
		}
		if bad != nil {
			bad = fmt.Errorf("line %d of what %q is replaced by: %w", line, address, bad)
		}
	})
	return list, wrap("aliases", errors.Join(bad, err))
}

// deliverable appends the items of one line.
func (x *inclusion) deliverable(list []string, line, domain string) ([]string, error) {
	items, err := ParseList(line)
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		switch item.Kind {
		case ToCommand:
			list = append(list, "|"+item.Text)
			continue
		case ToFile:
			list = append(list, item.Text)
			continue
		}
		x.all = x.all[:0]
		if err := x.add([]Item{item}, 0); err != nil {
			return nil, err
		}
		for _, to := range x.all {
			address := deliverableAddress(to.Text, domain)
			if to.Own {
				address = `\` + address
			}
			list = append(list, address)
		}
	}
	return list, nil
}

// deliverableAddress completes an address, so that it cannot be taken for a command or a
// file.
func deliverableAddress(address, domain string) string {
	local, own := Split(address)
	if own == "" {
		own = domain
	}
	if strings.HasPrefix(local, "/") || strings.HasPrefix(local, "|") {
		local = `"` + local + `"`
	}
	return local + "@" + own
}
