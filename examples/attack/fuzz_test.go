package attack

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzSession plays whole sessions. Whatever is said, as many messages arrive as
// were acknowledged, they are in form, and no fault of ours is found: the house
// looks at that when it closes.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"EHLO x\r\n|" + begin + "DATA\r\n|Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n",
		begin + "DATA\r\n|.\r\n\n.\r\n\r.\r\n..\r\n.\r\n" + evil,
		begin + "BDAT 5\r\nA: b\rBDAT 6 LAST\r\n\n\r\nx\r\nRSET\r\n" + begin + "BDAT 0 LAST\r\n",
		"LHLO x\r\nHELO (y\r\n|VRFY <a@b>\r\nMAIL FROM:<> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x+20y\r\n" +
			"RCPT TO:<\"a\\\"\"@example.test> NOTIFY=NEVER ORCPT=rfc822;a+40b\r\nDATA\r\n|\xff\x00\r\n.\r\n",
		"AUTH PLAIN AHVzZXJAZXhhbXBsZS50ZXN0AHNlY3JldA==\r\n|MAIL FROM:<a@b> AUTH=<>\r\nRCPT TO:<c@elsewhere>\r\nDATA\r\n|:\r\n.\r\n",
		"AUTH LOGIN\r\nKg==\r\n*\r\nAUTH PLAIN =\r\n", begin + "RCPT TO:<wide@example.test>\r\nDATA\r\n|x\r\n.\r\n",
		"MAIL FROM:<prepend@example.test>\r\nRCPT TO:postmaster\r\nRCPT TO:<list@example.test>\r\nDATA\r\n|Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX-Old: y\r\n\r\nforbidden fruit\r\n.\r\n",
	} {
		f.Add([]byte(s))
	}
	h := build(f, nil) // for all rounds
	f.Fuzz(func(t *testing.T, in []byte) {
		before := h.count()
		got := h.play(t, strings.Split(string(in), "|"))
		queued := strings.Count(got, "250 2.0.0 Ok: queued as")
		require.Equal(t, before+queued, h.count(), "%q", got)
		require.NotContains(t, got, "451 4.3.0", "%q", in)
		require.NotContains(t, got, "421 4.3.0", "%q", in)
	})
}

func (h *house) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.received)
}

// play sends part by part and waits for some answer in between.
func (h *house) play(t *testing.T, parts []string) string {
	c, err := net.Dial("tcp", h.addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(20*time.Second)))
	var b strings.Builder
	buf := make([]byte, 64<<10)
	for _, part := range parts {
		// Inside a message there is no answer to wait for.
		require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		n, err := c.Read(buf)
		b.Write(buf[:n])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return b.String()
		}
		if part == "" {
			part = "NOOP\r\n"
		}
		if _, err := io.WriteString(c, part); err != nil {
			break
		}
	}
	c.(*net.TCPConn).CloseWrite()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	rest, err := io.ReadAll(c)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "stuck")
	b.Write(rest)
	return b.String()
}
