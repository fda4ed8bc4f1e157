package restrictions_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	r "github.com/mtakit/mtakit/restrictions"
)

func at(recipient string) *mtakit.Session {
	return &mtakit.Session{Stage: mtakit.StageRcpt, Recipient: &mtakit.Recipient{Address: recipient}, Envelope: &mtakit.Envelope{Sender: "s@x"}}
}

func TestList(t *testing.T) {
	t.Parallel()
	hold := r.CheckSenderAccess{Table: table{"s@x": "HOLD"}}
	tests := []struct {
		name   string
		list   r.List
		action mtakit.Action
		held   bool
	}{
		{"empty", nil, mtakit.Dunno, false},
		{"the first decides", r.List{r.Permit{}, r.Reject{}}, mtakit.Permit, false},
		{"effects go on", r.List{hold, r.Permit{}}, mtakit.Permit, true},
		{"not what comes after", r.List{r.Permit{}, hold}, mtakit.Permit, false},
		{"an OK inside ends both", r.List{r.List{hold, r.Permit{}}, r.Reject{}}, mtakit.Permit, true},
		{"an end inside goes on", r.List{r.List{hold}, r.Reject{}}, mtakit.Reject, true},
	}
	for _, tt := range tests {
		v, err := tt.list.Check(t.Context(), at("a@b"))
		require.NoError(t, err)
		assert.Equal(t, tt.action, v.Action, tt.name)
		assert.Equal(t, tt.held, v.Hold != "", tt.name)
	}
}

// A yes for an address that carries another one must not open the relay.
func TestRoutedIsNotPermitted(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]mtakit.Action{"a@b": mtakit.Permit, "a%c@b": mtakit.Dunno, `"a@c"@b`: mtakit.Dunno, "c!a@b": mtakit.Dunno} {
		for _, x := range []r.Restriction{
			r.CheckRecipientAccess{Table: table{address: "OK"}},
			r.PermitAuthDestination{Domains: table{"b": ""}},
		} {
			v, err := x.Check(t.Context(), at(address))
			require.NoError(t, err)
			assert.Equal(t, want, v.Action, "%T %s", x, address)
		}
	}
}
