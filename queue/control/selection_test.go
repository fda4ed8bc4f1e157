package control

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/queue"
)

func TestSelection(t *testing.T) {
	t.Parallel()
	now := time.Now()
	e := queue.Entry{ID: "ABcd12", Queue: "deferred", Sender: "Alice@Sender.example", Arrival: now.Add(-time.Hour),
		Domains: []string{"example.net", "sub.example.org"}}
	for _, tt := range []struct {
		s    Selection
		want bool
	}{
		{Selection{}, true},
		{Selection{IDs: []string{"ABcd12"}}, true}, {Selection{IDs: []string{"x", "ABcd12"}}, true},
		{Selection{IDs: []string{"ABcd1"}}, false}, {Selection{IDs: []string{"abcd12"}}, false},
		{Selection{IDs: []string{"AB*"}}, true}, {Selection{IDs: []string{"AB?"}}, false}, {Selection{IDs: []string{"*"}}, true},
		{Selection{ID: "cd"}, true}, {Selection{ID: "!cd"}, false}, {Selection{ID: "CD"}, false}, {Selection{ID: "?Bcd1*"}, true},
		{Selection{Sender: "alice"}, true}, {Selection{Sender: "alice*"}, true}, {Selection{Sender: "lice*"}, false},
		{Selection{Sender: "!bob"}, true}, {Selection{Sender: "<>"}, false}, {Selection{Sender: "!<>"}, true},
		{Selection{Site: "example.net"}, true}, {Selection{Site: "EXAMPLE.net"}, true}, {Selection{Site: "ample.net"}, false},
		{Selection{Site: "example.org"}, false}, {Selection{Site: ".example.org"}, true}, {Selection{Site: "*.org"}, true},
		{Selection{Site: "!example.net"}, false}, {Selection{Site: "!example.com"}, true},
		{Selection{Older: time.Minute}, true}, {Selection{Older: 2 * time.Hour}, false},
		{Selection{Queue: "deferred"}, true}, {Selection{Queue: "hold"}, false},
		{Selection{Sender: "alice", Site: "example.com"}, false},
	} {
		assert.Equal(t, tt.want, tt.s.Match(&e, now), "%+v", tt.s)
		assert.Equal(t, tt.s.Sender == "" && tt.s.Site == "" && tt.s.ID == "" && tt.s.IDs == nil && tt.s.Older == 0 && tt.s.Queue == "", tt.s.All())
	}
	null := queue.Entry{}
	assert.True(t, (&Selection{Sender: "<>"}).Match(&null, now))
	assert.False(t, (&Selection{Sender: "<*>"}).Match(&null, now))
}

// TestGlobTakesItsTime has the pattern that makes careless matchers slow.
func TestGlobTakesItsTime(t *testing.T) {
	t.Parallel()
	assert.False(t, glob(strings.Repeat("*a", 1000), strings.Repeat("a", 100_000)+"b"))
}

func FuzzGlob(f *testing.F) {
	f.Add("*", "")
	f.Add("a*b?c", "axxbyc")
	f.Add("**?", "x")
	f.Add("a*a*a", "aaaa")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 50 || len(s) > 200 {
			return
		}
		text := ""
		for i := range len(pattern) {
			switch pattern[i] {
			case '*':
				text += `[\x00-\x{ff}]*`
			case '?':
				text += `[\x00-\x{ff}]`
			default:
				text += regexp.QuoteMeta(string(rune(pattern[i])))
			}
		}
		want := regexp.MustCompile(`^(?:` + text + `)\z`).MatchString(latin1(s))
		assert.Equal(t, want, glob(pattern, s), "%q %q", pattern, s)
	})
}

// latin1 makes a rune of each byte.
func latin1(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

func FuzzPrintable(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[31mred\x9b31m\u009b31m\u202egnp.exe\x7f\xff\r\n")
	f.Add("Grüße 日本 \U0001f4e7 \U000e0041")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range Printable(s) {
			require.True(t, unicode.IsPrint(r), "%q", r)
		}
		b, err := JSON(s)
		require.NoError(t, err)
		for _, r := range string(b) {
			require.True(t, unicode.IsPrint(r), "%q in %q", r, b)
		}
		var got, want string
		require.NoError(t, json.Unmarshal(b, &got))
		plain, err := json.Marshal(s)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(plain, &want))
		require.Equal(t, want, got)
	})
}

func TestMailq(t *testing.T) {
	t.Parallel()
	arrival := time.Date(2026, 11, 2, 6, 9, 17, 0, time.Local)
	var b strings.Builder
	q := Mailq{W: &b}
	for _, m := range []Message{
		{ID: "dZJ0qXPT4vMrK", Queue: "active", Sender: "alice@example.org", Size: 1500, Arrival: arrival,
			Recipients: []Recipient{{"bob@example.net", ""}, {"carol@example.net", "full"}, {"dave@example.net", "full"}}},
		{ID: "dZJ0qZS7wvMrK", Queue: "hold", Reason: "look\x1b[2J", Size: 600, Arrival: arrival, Recipients: []Recipient{{"x\ny@example.net", ""}}},
		{ID: "dZJ0qbsBqvMrK", Queue: "deferred", Expire: true, Sender: "bob@example.org", Size: 1, Arrival: arrival,
			Recipients: []Recipient{{"a@example.net", strings.Repeat("long ", 20)}}},
	} {
		require.NoError(t, q.Add(&m))
	}
	require.NoError(t, q.End())
	assert.Equal(t, `----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------
dZJ0qXPT4vMrK*        1500 Mon Nov  2 06:09:17 alice@example.org
                                               bob@example.net
                                                                        (full)
                                               carol@example.net
                                               dave@example.net

dZJ0qZS7wvMrK!         600 Mon Nov  2 06:09:17 MAILER-DAEMON
                                                                    (look?[2J)
                                               x?y@example.net

dZJ0qbsBqvMrK#           1 Mon Nov  2 06:09:17 bob@example.org
(long long long long long long long long long long long long long long long long long long long long )
                                               a@example.net

-- 3 Kbytes in 3 Requests.
`, b.String())

	b.Reset()
	q = Mailq{W: &b}
	require.NoError(t, q.Add(&Message{ID: "4F2A1B", Sender: "a@example.org", Size: 10, Arrival: arrival, Recipients: []Recipient{{"b@example.net", ""}}}))
	require.NoError(t, q.End())
	assert.Equal(t, `-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------
4F2A1B           10 Mon Nov  2 06:09:17  a@example.org
                                         b@example.net

-- 1 Kbytes in 1 Request.
`, b.String())

	b.Reset()
	require.NoError(t, (&Mailq{W: &b}).End())
	assert.Equal(t, "Mail queue is empty\n", b.String())
}

func TestShape(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var s, senders Shape
	senders.Senders, senders.Buckets, senders.First = true, 3, time.Hour
	for i, age := range []time.Duration{-time.Hour, 0, 4 * time.Minute, 5 * time.Minute, 25 * time.Minute, 1279 * time.Minute, 1280 * time.Minute, 9999 * time.Hour} {
		m := Message{Sender: "a@sender.example", Arrival: now.Add(-age), Recipients: []Recipient{{Address: "b@Example.NET"}}}
		if i == 3 {
			m.Sender = ""
			m.Recipients = append(m.Recipients, Recipient{Address: "c@example.net."}, Recipient{Address: "d@a.very.long.domain.name.that.has.no.room.in.its.column.example.org"})
		}
		s.Add(&m, now)
		senders.Add(&m, now)
	}
	var b strings.Builder
	_, err := s.WriteTo(&b)
	require.NoError(t, err)
	_, err = senders.WriteTo(&b)
	require.NoError(t, err)
	_, err = new(Shape).WriteTo(&b)
	require.NoError(t, err)
	assert.Equal(t, `                                         T  5 10 20 40 80 160 320 640 1280 1280+
                                  TOTAL 10  3  3  0  1  0   0   0   0    1     2
                            example.net  9  3  2  0  1  0   0   0   0    1     2
+.has.no.room.in.its.column.example.org  1  0  1  0  0  0   0   0   0    0     0
                                                                   T 60 120 120+
                                                            TOTAL  8  5   0    3
                                                   sender.example  7  4   0    3
                                                    MAILER-DAEMON  1  1   0    0
                                         T  5 10 20 40 80 160 320 640 1280 1280+
                                  TOTAL  0  0  0  0  0  0   0   0   0    0     0
`, b.String())
}
