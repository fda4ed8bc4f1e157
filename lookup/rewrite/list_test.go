package rewrite_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup/rewrite"
)

func TestParseList(t *testing.T) {
	t.Parallel()
	to := func(list ...string) (items []rewrite.Item) {
		for _, s := range list {
			items = append(items, rewrite.Item{Kind: rewrite.ToAddress, Text: s})
		}
		return items
	}
	tests := []struct {
		in   string
		want []rewrite.Item
	}{
		{"", nil},
		{" , ,", nil},
		{"alice", to("alice")},
		{"alice, bob@example.org,carol", to("alice", "bob@example.org", "carol")},
		{"a@x b@y", to("a@x", "b@y")},
		{"a\u00a0b@x", to("a\u00a0b@x")},
		{" \u2003a@x\t,<\u0085b@y >", to("\u2003a@x", "\u0085b@y")},
		{"alice bob@y\n\\carol", append(to("alice", "bob@y"), rewrite.Item{Kind: rewrite.ToAddress, Text: "carol", Own: true})},
		{`"odd user"@example.org, "a,b"@example.org`, to(`"odd user"@example.org`, `"a,b"@example.org`)},
		{`"odd user"`, to(`"odd user"`)},
		{`"alice"`, to("alice")},
		{`\root`, []rewrite.Item{{Kind: rewrite.ToAddress, Text: "root", Own: true}}},
		{"Alice Example <alice@example.org>", to("alice@example.org")},
		{`"Example, Alice" <alice@example.org>, bob`, to("alice@example.org", "bob")},
		{"alice (of (the) house), bob", to("alice", "bob")},
		{`"odd user"@x bob@y, carol@z "odd, too"@x`, to(`"odd user"@x`, "bob@y", "carol@z", `"odd, too"@x`)},
		{`<a@x> <b@y>`, to("a@x", "b@y")},
		{`"Example, Alice" <a@x> bob@y, Carol<"c d"@z>(Carol)erin`, to("a@x", "bob@y", `"c d"@z`, "erin")},
		{`<@r,@s:a@x>, a @ x . y, a@(c) x, mail:a@x, a\ b@x, a\,b@x`, to("a@x", "a@x.y", "a@x", `"mail:a"@x`, `"a b"@x`, `"a,b"@x`)},
		{`"a" "b c"`, to("a", `"b c"`)},
		{"a@x @y", to("a@x", "@y")},
		{"@example.net", to("@example.net")},
		{`"|/usr/bin/vacation -a x, y" , alice`, []rewrite.Item{{Kind: rewrite.ToCommand, Text: "/usr/bin/vacation -a x, y"}, to("alice")[0]}},
		{`|"/usr/bin/filter a"`, []rewrite.Item{{Kind: rewrite.ToCommand, Text: `"/usr/bin/filter a"`}}},
		{"/var/mail/archive/", []rewrite.Item{{Kind: rewrite.ToFile, Text: "/var/mail/archive/"}}},
		{`"/var/mail/with space"`, []rewrite.Item{{Kind: rewrite.ToFile, Text: "/var/mail/with space"}}},
		{":include:/etc/list, x", []rewrite.Item{{Kind: rewrite.ToInclude, Text: "/etc/list"}, to("x")[0]}},
		{`":Include: /etc/list"`, []rewrite.Item{{Kind: rewrite.ToInclude, Text: "/etc/list"}}},
	}
	for _, tt := range tests {
		got, err := rewrite.ParseList(tt.in)
		require.NoError(t, err, tt.in)
		assert.Equal(t, tt.want, got, tt.in)
	}
	for _, in := range []string{"|", ":include:", "<>", "a@b@@", "a@", "@", "x\x00y", "<a@x", "<<a@x>>", "a@x; b@y", "g: a@x;"} {
		_, err := rewrite.ParseList(in)
		assert.ErrorIs(t, err, rewrite.ErrSyntax, "%q", in)
	}
}

func TestKindNames(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "|command", rewrite.ToCommand.String())
	assert.Equal(t, "unknown", rewrite.Kind(9).String())
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const file = "\ufeff# comment\r\n" +
		"   stray continuation\n" +
		"postmaster: root\r\n" +
		"root: alice,\n" +
		"# in the middle\n" +
		"\t bob\n" +
		"archive: alice,\n" +
		"\n" +
		"  /var/mail/archive\n" +
		"no colon here\n" +
		"\"odd: key\": \"|/bin/cat\"\n" +
		"list: :include:/etc/list\n" +
		"empty:\n" +
		"two: words here\n" +
		"bad: user@"
	problems := (&rewrite.Aliases{}).Check("etc/aliases", strings.NewReader(file))
	var got []string
	for _, p := range problems {
		got = append(got, p.Error())
	}
	assert.Equal(t, []string{
		`etc/aliases:7: alias "archive": /file not enabled: "/var/mail/archive"`,
		`etc/aliases:11: alias "odd: key": |command not enabled: "/bin/cat"`,
		`etc/aliases:12: alias "list": :include: not enabled: "/etc/list"`,
		`etc/aliases:13: alias "empty": bad address syntax: no addresses`,
		`etc/aliases:15: alias "bad": bad address syntax: no domain in "user@"`,
	}, got)
	var at *rewrite.LineError
	require.ErrorAs(t, problems[0], &at)
	assert.Equal(t, 7, at.Line)
	assert.ErrorIs(t, problems[0], rewrite.ErrDisabled)
}

func TestCheckHugeAndBroken(t *testing.T) {
	t.Parallel()
	a := &rewrite.Aliases{}
	long := "x: " + strings.Repeat("a", 3<<20) + "\nnext: |cat\n"
	problems := a.Check("f", strings.NewReader(long))
	require.Len(t, problems, 2)
	assert.ErrorContains(t, problems[0], "f:1: alias \"x\": bad address syntax: longer than")
	assert.ErrorContains(t, problems[1], "f:2: ")
	many := "x: a,\n" + strings.Repeat(" "+strings.Repeat("b", 1000)+",\n", 3_000) + "next: /file\n"
	problems = a.Check("f", strings.NewReader(many))
	require.Len(t, problems, 2)
	assert.ErrorContains(t, problems[0], "f:1: alias \"x\": bad address syntax: longer than")
	assert.ErrorContains(t, problems[1], "f:3002: ")

	failed := errors.New("input/output error")
	problems = a.Check("f", io.MultiReader(strings.NewReader("x: |cat\ny: /f"), iotest.ErrReader(failed)))
	require.NotEmpty(t, problems)
	assert.ErrorIs(t, problems[len(problems)-1], failed)
	assert.Empty(t, a.Check("f", bytes.NewReader(nil)))
}

// FuzzParseList: whatever a table says, each address that comes out of it is one
// line in wire form, and means itself.
func FuzzParseList(f *testing.F) {
	for _, seed := range []string{"a, b@c", `"|x", /y`, ":include:/z", `"a b"@c d@e`, "(x (y)) a", `a <b@c>, "`, "\\", "((((", "<<>>", "@x", `"\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		items, err := rewrite.ParseList(s)
		if err != nil && !errors.Is(err, rewrite.ErrSyntax) {
			t.Fatalf("%q: %v", s, err)
		}
		for _, item := range items {
			if item.Kind != rewrite.ToAddress || strings.HasPrefix(item.Text, "@") {
				continue
			}
			a, err := rewrite.ParseAddress(item.Text)
			if err != nil || a.String() != item.Text {
				t.Fatalf("%q gives the address %q: %v", s, item.Text, err)
			}
		}
		(&rewrite.Aliases{}).Check("f", strings.NewReader(s))
	})
}

// FuzzForward: whatever a .forward file says, what comes out of it is an address with a
// domain, a command or a file, and only what was written as a command or a file is one.
func FuzzForward(f *testing.F) {
	for _, seed := range []string{"a, b@c", `"|x y", /y`, `\a, \b@c, "\c d"`, "a@b\n c\n\n#d\ne,\n\tf", `"/a"@b, "|c"@d, "\\e"@f`, ":include:/z", "/a@b, |c@d", "\\/a", `"\|a"`, `"|a`, "<|a>, (|b)|c", "@x", `\b"c,`, "a\u00a0b@c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := (&rewrite.Aliases{}).Forward("user@here.example", text)
		if err != nil {
			require.Empty(t, list)
			return
		}
		items, _ := rewrite.ParseList(text)
		oneLine := text != "" && text[0] > ' ' && !strings.ContainsAny(text, "\n#")
		for i, item := range list {
			if oneLine {
				require.Equal(t, items[i].Kind == rewrite.ToCommand, strings.HasPrefix(item, "|"), "%q", item)
				require.Equal(t, items[i].Kind == rewrite.ToFile, strings.HasPrefix(item, "/"), "%q", item)
			}
			if strings.HasPrefix(item, "|") || strings.HasPrefix(item, "/") {
				continue
			}
			wire := strings.TrimPrefix(item, `\`)
			_, domain := rewrite.Split(wire)
			require.NotEmpty(t, domain, "%q", item)
			if strings.HasPrefix(wire, "@") {
				continue // as virtual(5) has them
			}
			a, err := rewrite.ParseAddress(wire)
			require.NoError(t, err, "%q", item)
			again, err := (&rewrite.Aliases{}).Forward("user@there.example", ","+wire) // "#" would begin a comment
			require.NoError(t, err)
			require.Len(t, again, 1, "%q", wire)
			back, err := rewrite.ParseAddress(again[0])
			require.NoError(t, err)
			require.Equal(t, a, back)
		}
	})
}
