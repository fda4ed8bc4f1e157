package rewrite

import "context"

// Recipients is the table of all addresses that we take mail for: what
// canonical or virtual replaces, what has a mailbox, and what aliases replace.
// reject_unlisted_recipient asks it. The zero value is empty.
type Recipients struct {
	Canonical *Canonical // nil means none
	Expander  *Expander  // virtual, mailboxes and aliases; nil means none
}

// Lookup returns the entry that makes an address one of ours. It looks no
// further than one step: an alias that leads nowhere is known all the same. One
// that Expand would refuse is an error, so that it is the recipient who has to
// wait, and not all of a message's.
func (r *Recipients) Lookup(ctx context.Context, address string) (value string, ok bool, err error) {
	if c := r.Canonical; c != nil {
		for _, t := range []Table{c.Recipient, c.Both} {
			if m, ok, err := c.find(ctx, t, address); ok || err != nil {
				return m.value, ok, wrap("canonical", err)
			}
		}
	}
	if r.Expander == nil {
		return "", false, nil
	}
	return r.Expander.entry(ctx, address)
}

// FullKeyOnly says that the table searches by itself.
func (r *Recipients) FullKeyOnly() bool { return true }

// entry returns what any of the tables says of an address.
func (x *Expander) entry(ctx context.Context, address string) (string, bool, error) {
	if v := x.Virtual; v != nil {
		if m, ok, err := v.find(ctx, v.Table, address); ok || err != nil {
			return m.value, ok, wrap("virtual", err)
		}
	}
	if m, ok, err := x.find(ctx, x.Mailboxes, address); ok || err != nil {
		return m.value, ok, wrap("mailboxes", err)
	}
	if x.Aliases == nil {
		return "", false, nil
	}
	value, ok, err := x.Aliases.find(ctx, address)
	if ok {
		_, err = x.Aliases.destinations(value)
		if x.Aliases.left(err) {
			err = nil
		}
	}
	return value, ok, wrap("aliases", err)
}
