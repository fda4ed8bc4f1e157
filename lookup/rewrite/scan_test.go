package rewrite_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup/rewrite"
)

func ExampleParseAddresses() {
	list, err := rewrite.ParseAddresses(`Friends: "Example, Alice" <alice@example.org>, bob@example.net (Bob);, carol`)
	fmt.Println(list, err)
	// Output: [alice@example.org bob@example.net carol] <nil>
}

func TestParseAddresses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", ",;, ,": "", "undisclosed-recipients:;": "", "(only (a) comment)": "",
		"a@b, \"x, y\" <c@d> (e (f)), G: h@i;, j@[192.0.2.1]": "a@b c@d h@i j@[192.0.2.1]",
		"<@r,@s:x@y>, @r:z@y":  "x@y z@y",
		"a @ b . c d@e":        "a@b.c d@e",
		"a@x b@x":              "a@x b@x",
		`"odd user"@x`:         `"odd user"@x`,
		`<"a>b"@c>`:            `"a>b"@c`,
		"< a@b >":              "a@b",
		"j@[IPv6:2001:db8::1]": "j@[IPv6:2001:db8::1]",
		"alice":                "alice",
	} {
		list, err := rewrite.ParseAddresses(in)
		require.NoError(t, err, in)
		var got []string
		for _, a := range list {
			got = append(got, a.String())
		}
		assert.Equal(t, want, strings.Join(got, " "), in)
	}
	for in, text := range map[string]string{
		"bob smith": "white space", "<bob": "brackets", "<a@b": "brackets", "<<a@b>>": "brackets", "<a@b> <c@d>": "brackets", "<>": "no address",
		"a@b\x01c": "domain", "x@": "no domain", "a <b\x00@c>": "control character",
	} {
		_, err := rewrite.ParseAddresses(in)
		require.ErrorIs(t, err, rewrite.ErrSyntax, in)
		assert.ErrorContains(t, err, text, in)
	}
}

// FuzzParseAddresses has what was read come out again when it is read again.
func FuzzParseAddresses(f *testing.F) {
	f.Add("a@b, \"x, y\" <c@d> (e (f)), G: h@i;, j@[192.0.2.1]")
	f.Add("<\"a>\\\"b\"@c>, @r:x@y, a @ b . c d@e")
	f.Add("((((\\")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := rewrite.ParseAddresses(text)
		if err != nil {
			return
		}
		for _, a := range list {
			again, err := rewrite.ParseAddresses("<" + a.String() + ">")
			require.NoError(t, err, "%q", a)
			require.Len(t, again, 1)
			require.Equal(t, a.String(), again[0].String())
		}
	})
}
