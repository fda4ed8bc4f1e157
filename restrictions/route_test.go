package restrictions_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	r "github.com/mtakit/mtakit/restrictions"
)

// routes has a refusal for some addresses; one without text is a table that is broken.
type routes map[string]*smtp.SMTPError

func (t routes) Route(_ context.Context, env *mtakit.Envelope, rcpt *mtakit.Recipient) (mtakit.Route, error) {
	reply := t[rcpt.Address]
	if reply != nil && reply.Message == "" {
		return mtakit.Route{}, errBroken
	}
	return mtakit.Route{Transport: "smtp", Reply: reply}, nil
}

func TestUnroutable(t *testing.T) {
	t.Parallel()
	x := r.RejectUnroutableRecipient{
		Router: routes{
			"gone@a": {Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 2}, Message: "no such place"}, "later@a": {Code: 450, EnhancedCode: smtp.EnhancedCode{4, 4, 3}, Message: "later"},
			"alias@a": {Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "unknown"}, "broken@a": {},
		},
		Replaced: table{"alias@a": "x", "fault@a": "!"},
	}
	for address, want := range map[string]string{
		"fine@a": "", "alias@a": "",
		"gone@a":   "550 5.1.2 <gone@a>: Recipient address rejected: no such place",
		"later@a":  "450 4.4.3 <later@a>: Recipient address rejected: later",
		"broken@a": "451 4.3.0 <broken@a>: Temporary lookup failure",
		"fault@a":  "451 4.3.0 <fault@a>: Temporary lookup failure",
	} {
		v, err := x.Check(t.Context(), &mtakit.Session{Envelope: &mtakit.Envelope{}, Recipient: &mtakit.Recipient{Address: address}})
		require.NoError(t, err)
		got := ""
		if v.Reply != nil {
			assert.Equal(t, mtakit.Reject, v.Action)
			got = fmt.Sprintf("%d %d.%d.%d %s", v.Reply.Code, v.Reply.EnhancedCode[0], v.Reply.EnhancedCode[1], v.Reply.EnhancedCode[2], v.Reply.Message)
		}
		assert.Equal(t, want, got, address)
	}
	for _, nothing := range []r.RejectUnroutableRecipient{{}, x} {
		v, err := nothing.Check(t.Context(), &mtakit.Session{})
		require.NoError(t, err)
		assert.Equal(t, mtakit.Verdict{}, v)
	}
}
