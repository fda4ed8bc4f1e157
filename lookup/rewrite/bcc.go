package rewrite

import (
	"context"
	"fmt"
	"slices"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// BCC adds recipients that get a copy of all mail, of that of some senders, or of
// that to some recipients, as Postfix's always_bcc, sender_bcc_maps and
// recipient_bcc_maps do. The zero value adds none.
//
// Copies are not reported on: their NOTIFY is NEVER.
type BCC struct {
	Always    string // address; "" means none
	Sender    Table  // senders to addresses, with the keys of Canonical; nil means none
	Recipient Table  // recipients to addresses, likewise; nil means none
	Keys
	Origin func() string // domain of values without one; nil or "" means that they stay so
}

// Add returns the recipients with those who get a copy behind them, each address
// once. The error is a table's, or wraps ErrSyntax when a value is no address.
func (b *BCC) Add(ctx context.Context, sender string, recipients []mtakit.Recipient) ([]mtakit.Recipient, error) {
	if len(recipients) == 0 {
		return recipients, nil
	}
	var copies []string
	if b.Always != "" {
		copies = append(copies, result(b.Always, b.Always, "", b.Origin))
	}
	copies, err := b.add(ctx, copies, b.Sender, sender)
	for i := range recipients {
		if err == nil {
			copies, err = b.add(ctx, copies, b.Recipient, recipients[i].Address)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("bcc: %w", err)
	}
	seen := make(map[string]bool, len(recipients)+len(copies))
	for i := range recipients {
		seen[fold(recipients[i].Address)] = true
	}
	all := slices.Clone(recipients)
	for _, address := range copies {
		if key := fold(address); !seen[key] {
			seen[key] = true
			all = append(all, mtakit.Recipient{Address: address, Options: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}}})
		}
	}
	return all, nil
}

// add looks one address up.
func (b *BCC) add(ctx context.Context, copies []string, t Table, address string) ([]string, error) {
	if t == nil || address == "" {
		return copies, nil
	}
	m, ok, err := b.find(ctx, t, address)
	if !ok || err != nil {
		return copies, err
	}
	list, err := addresses(m.value)
	if err != nil {
		return nil, fmt.Errorf("value of %q: %w", address, err)
	}
	for _, value := range list {
		copies = append(copies, result(value, address, "", b.Origin))
	}
	return copies, nil
}
