package rewrite_test

import (
	"testing"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/lookup/rewrite"
)

func BenchmarkExpand(b *testing.B) {
	x := &rewrite.Expander{
		Virtual:   &rewrite.Virtual{Table: table{"sales@example.org": "alice@example.org"}},
		Mailboxes: table{"alice@example.org": "alice/"},
		Aliases:   &rewrite.Aliases{Table: table{"team": "alice, bob"}, Domains: table{"example.org": ""}},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Expand(b.Context(), "alice@example.org"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRoute(b *testing.B) {
	r := &rewrite.Router{
		Domains: table{"example.org": ""}, Mailboxes: table{"alice@example.org": "alice/"},
		Transport: &rewrite.Transport{Table: table{}}, Relocated: &rewrite.Relocated{Table: table{}},
	}
	rcpt := &mtakit.Recipient{Address: "alice@example.org"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Route(b.Context(), nil, rcpt); err != nil {
			b.Fatal(err)
		}
	}
}
