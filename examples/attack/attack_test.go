package attack

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/smtpserver"
)

const begin = "MAIL FROM:<a@example.net>\r\nRCPT TO:<user@example.test>\r\n"

const evil = "MAIL FROM:<evil@example.net>\r\nRCPT TO:<victim@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n.\r\n"

var ends = []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\n\n", "\x00\r\n", "\r\x00\n", "\r\n\x00", " \r\n", "\r\n\n", "\n\r\n"}

// Only CR LF "." CR LF ends a message, whatever stands around a dot.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	for _, policy := range []smtpserver.BareNewline{smtpserver.NormalizeNewlines, smtpserver.RejectNewlines} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			t.Parallel()
			h := build(t, func(h *house) { h.server.BareNewline = policy })
			want := 0
			for _, before := range ends {
				for _, after := range ends {
					h.t.Logf("%q . %q", before, after)
					ended := strings.HasSuffix(before, "\r\n") && strings.HasPrefix(after, "\r\n")
					inner := "Subject: x\r\n\r\nhello" + before + "." + after
					got := h.pour(begin+"DATA\r\n", inner+evil+"\r\n.\r\nQUIT\r\n")
					queued := strings.Count(got, "queued as")
					if !ended {
						require.LessOrEqual(t, queued, 1, "%q", got)
						require.NotContains(t, h.senders(), "evil@example.net", "%q . %q", before, after)
					}
					want += queued
					got = h.pour(begin + fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%sQUIT\r\n", len(inner), inner, len(evil), evil))
					queued = strings.Count(got, "queued as")
					require.LessOrEqual(t, queued, 1, "%q", got)
					require.Contains(t, got, "221 2.0.0 Bye")
					want += queued
					h.forget("evil@example.net")
				}
			}
			h.messages(want)
		})
	}
}

func (h *house) senders() (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.arrived {
		all = append(all, d[0].env.Sender)
	}
	return all
}

// forget renames a sender, so that the next round sees its own only.
func (h *house) forget(sender string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, all := range h.arrived {
		for i := range all {
			if all[i].env.Sender == sender {
				all[i].env.Sender = "seen"
			}
		}
	}
}

// A client that leaves after any byte has sent a whole message or none.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	for _, dialogue := range []string{
		begin + "DATA\r\nSubject: x\r\n\r\nhello\r\n.\r\n",
		begin + "BDAT 7\r\nA: b\r\n\r" + "BDAT 6\r\n\nhello" + "BDAT 4 LAST\r\n you",
		"STARTTLS\r\n\x16\x03\x01",
	} {
		var group sync.WaitGroup
		for n := range len(dialogue) {
			group.Go(func() {
				command, rest, data := strings.Cut(dialogue[:n], "DATA\r\n")
				if data {
					command += "DATA\r\n"
				}
				got := h.pour(command, rest)
				assert.NotContains(t, got, "queued as", "%q", dialogue[:n])
			})
			if n%16 == 15 {
				group.Wait()
			}
		}
		group.Wait()
	}
	require.Empty(t, h.messages(0))
}

// What is huge arrives byte by byte as it was sent. Only a header that filters do
// not see whole is refused, where there are any.
func TestHuge(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, head, body string }{
		{"body of 4 MB", "Subject: x\r\n", strings.Repeat(strings.Repeat("x", 70)+"\r\n", 60_000)},
		{"line of 4 MB", "Subject: x\r\n", strings.Repeat("x", 4_000_000) + "\r\n"},
		{"100,000 fields", strings.Repeat("X-A: b\r\n", 100_000), "hello\r\n"},
		{"header of 4 MB", strings.Repeat("X-Long: "+strings.Repeat("y", 90)+"\r\n", 40_000), "hello\r\n"},
		// What looks at headers stops after MaxHeader bytes: here inside a name, and
		// between CR and LF.
		{"header that ends in a name", strings.Repeat("z", 66) + "A:\r\n" + strings.Repeat("X-Long: "+strings.Repeat("y", 90)+"\r\n", 20_000), "hello\r\n"},
		{"header that ends in a line end", strings.Repeat("z", 70) + "A:\r\n" + strings.Repeat("X-Long: "+strings.Repeat("y", 90)+"\r\n", 20_000), "hello\r\n"},
		{"field of 5 MB", "X-Long: " + strings.Repeat("y", 5_000_000) + "\r\n", "hello\r\n"},
		{"folded field of 5 MB", "X-Long: y\r\n" + strings.Repeat(" yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 100_000), "hello\r\n"},
		{"addresses of 3 MB", "To: " + strings.Repeat("a@example.test, ", 200_000) + "b@example.test\r\n", "hello\r\n"},
		{"comments in comments", "To: " + strings.Repeat("(", 500_000) + "\r\n", "hello\r\n"},
		{"multiparts in multiparts", "Content-Type: multipart/mixed; boundary=b\r\n",
			strings.Repeat("--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n", 20_000)},
		{"boundaries all over", "Content-Type: multipart/mixed; boundary=b\r\n", strings.Repeat("--b\r\n", 100_000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := build(t, nil)
			raw := tt.head + "\r\n" + tt.body
			reply := h.data("a@example.net", "user@example.test", strings.TrimSuffix(raw, "\r\n"))
			if len(tt.head) > mtakit.MaxHeader {
				require.Equal(t, "552 5.3.4 Error: message header too big", reply)
				h = build(t, func(h *house) { h.intake.Filter = nil })
				reply = h.data("a@example.net", "user@example.test", strings.TrimSuffix(raw, "\r\n"))
			}
			require.Regexp(t, `^250 2.0.0 Ok: queued as`, reply)
			got := h.one().raw
			require.True(t, strings.HasSuffix(got, raw), "%d of %d bytes", len(got), len(raw))
		})
	}
}

// Many slow and greedy clients do not take much memory each.
func TestMemory(t *testing.T) {
	h := build(t, nil)
	const clients = 100
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := make([]net.Conn, clients)
	for i := range conns {
		conns[i] = h.dial()
		defer conns[i].Close()
		got := h.converse(conns[i], "", "EHLO x", "MAIL FROM:<a@example.net>", "RCPT TO:<user@example.test>", "DATA")
		require.Equal(t, "354 End data with <CR><LF>.<CR><LF>", got[len(got)-1])
		_, err := io.WriteString(conns[i], strings.Repeat("X: y\r\n", 200_000))
		require.NoError(t, err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(clients*(64<<10)+80<<20))
}

// A command line without an end costs its sender the connection.
func TestEndlessLine(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	for _, start := range []string{"", "MAIL FROM:<", "AUTH PLAIN ", "EHLO ", "NOOP ", "\x00"} {
		got := h.pour(start, strings.Repeat("A", 3<<20))
		require.Contains(t, got, "421 4.7.0 mx.example.test Error: line too long", start)
	}
	got := h.pour(strings.Repeat(strings.Repeat("A", 3000)+"\r\n", 100))
	require.Equal(t, 20, strings.Count(got, "500 5.5.2 Error: line too long"))
	require.Contains(t, got, "421 4.7.0 mx.example.test Error: too many errors")
}

// More recipients than the limit are told to come later, in the same session.
func TestManyRecipients(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	var b strings.Builder
	b.WriteString("MAIL FROM:<a@example.net>\r\n")
	for i := range 1200 {
		fmt.Fprintf(&b, "RCPT TO:<u%d@example.test>\r\n", i)
	}
	got := h.pour(b.String()+"DATA\r\n", "Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n")
	require.Equal(t, 1000, strings.Count(got, "250 2.1.5 Ok"))
	require.Equal(t, 200, strings.Count(got, "452 4.5.3 Error: too many recipients"))
	require.Contains(t, got, "queued as")
	require.Eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, all := range h.arrived {
			return len(all) == 1000
		}
		return false
	}, 20*time.Second, 5*time.Millisecond)
}

// Aliases that multiply end; one with too many results is a fault of our tables,
// so that the client keeps the message.
func TestAliasBombs(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	for _, to := range []string{"wide@example.test", "loop@example.test"} {
		require.Equal(t, "451 4.6.0 Alias expansion error", h.data("a@example.net", to, "Subject: x\r\n\r\nhello"))
	}

	require.Contains(t, h.data("a@example.net", "bomb0@example.test", "Subject: x\r\n\r\nhello"), "queued as")
	commands := []string{"EHLO x", "MAIL FROM:<a@example.net>", "RCPT TO:<list@example.test>"}
	for i := range 60 {
		commands = append(commands, "RCPT TO:<tree"+fmt.Sprint(i)+"@example.test>")
	}
	replies := h.talk(append(commands, "DATA", "Subject: x\r\n\r\nhello\r\n.")...)
	require.Contains(t, replies[len(replies)-1], "queued as")
	h.messages(2)
}

// Who guesses passwords is told so a few times, and thrown out.
func TestPasswordFlood(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	guess := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00user@example.test\x00guess")) + "\r\n"
	got := h.pour(strings.Repeat(guess, 100))
	require.Equal(t, 20, strings.Count(got, "535 5.7.8"))
	require.Contains(t, got, "421 4.7.0 mx.example.test Error: too many errors")
	got = h.pour("AUTH LOGIN\r\n" + strings.Repeat("A", 100_000) + "\r\nAUTH PLAIN " + strings.Repeat("A", 12_000) + "\r\nQUIT\r\n")
	require.Contains(t, got, "500 5.5.6")
	require.Contains(t, got, "221 2.0.0 Bye")
}

// A handshake that never ends holds nothing up.
func TestHalfOpenTLS(t *testing.T) {
	t.Parallel()
	h := build(t, func(h *house) { h.server.IdleTimeout = 200 * time.Millisecond; h.offerTLS() })
	for _, hello := range []string{"", "\x16", "\x16\x03\x01\x02\x00\x01", "GET / HTTP/1.0\r\n\r\n", strings.Repeat("\x00", 70_000)} {
		c := h.dial()
		defer c.Close()
		require.Equal(t, "220 2.0.0 Ready to start TLS", h.converse(c, "", "EHLO x", "STARTTLS")[2])
		io.WriteString(c, hello)
		all, _ := io.ReadAll(c)
		assert.NotContains(t, string(all), "250 ")
		assert.NotContains(t, string(all), "421 ", "plain text after STARTTLS")
	}
}

// Nothing that a client says in a command becomes a header field of its own.
func TestInjectedHeaders(t *testing.T) {
	t.Parallel()
	const login = `"x) y\" <z>"@example.test`
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + login + "\x00secret"))
	h := build(t, (*house).offerTLS)
	names := []string{"x\rX-Forged:", "x\x00y", "x)(y", "x\ty", "<x>", "ü", "x\x7f", "x\x1b[31m", strings.Repeat("x", 255), "x\xff"}
	for _, name := range names {
		c := h.dial()
		defer c.Close()
		h.converse(c, "", "EHLO x", "STARTTLS")
		s := h.secure(c)
		got := h.converse(s, "EHLO x", "EHLO "+name, "AUTH PLAIN "+plain, "MAIL FROM:<prepend@example.test>",
			`RCPT TO:<"a) b\"; X-Forged: y\\"@example.test>`, "RSET", "MAIL FROM:<prepend@example.test>",
			`RCPT TO:<"a) b\"; X-Forged: y\\"@example.test>`, "DATA", "Subject: x\r\n\r\nhello\r\n.")
		require.Contains(t, got[len(got)-1], "queued as", "%q", got)
	}
	for _, all := range h.messages(len(names)) {
		header, _ := mtakit.ParseHeader([]byte(all[0].raw))
		var fields []string
		for _, f := range header.All() {
			fields = append(fields, f.Name())
			assert.NotContains(t, string(f.Raw()), "\x1b")
		}
		require.Equal(t, []string{"Received", "Date", "Message-ID", "From", "Subject"}, fields, "%q", all[0].raw)
	}
}
