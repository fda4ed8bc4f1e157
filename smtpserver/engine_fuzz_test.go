package smtpserver_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/smtpserver"
)

// Whatever a client sends, the engine answers or closes, ends when the client
// leaves, and every session that was made is logged out.
func FuzzEngine(f *testing.F) {
	for _, s := range []string{
		"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
		"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 4\r\nabcdBDAT 4 LAST\r\nabcdRSET\r\n",
		"AUTH TWOSTEP\r\nYQ==\r\n=\r\nAUTH OAUTHBEARER eA==\r\n\r\n", "\x16\x03\x01\x00\r\n", "GET / HTTP/1.0\r\n\r\n",
		"MAIL FROM:<panic@x>\r\n", "MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nBDAT 99999999\r\n", "LHLO x\r\nMAIL FROM:<a@b>\r\n", "DATA\n.\n\r.\r",
	} {
		f.Add([]byte(s), byte(0))
		f.Add([]byte(s), byte(0xff))
	}
	f.Fuzz(func(t *testing.T, in []byte, how byte) {
		b := &mailbox{lmtp: how&1 != 0, lazy: how&2 != 0, bare: how&4 != 0}
		s := &smtpserver.Server{Backend: b, Hostname: "mx.example.test", ErrorDelay: -1, LMTP: how&1 != 0, Strict: how&8 != 0,
			AllowInsecureAuth: true, MaxSize: 1000, MaxErrors: 50}
		told := new(reports)
		if how&32 != 0 {
			s.Reporter = told
		}
		if how&16 != 0 {
			s.BareNewline = smtpserver.RejectNewlines
		}
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); s.ServeConn(server) }()
		read := make(chan struct{})
		go func() { defer close(read); io.Copy(io.Discard, client) }()
		client.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, err := client.Write(in)
		if err != nil {
			require.ErrorIs(t, err, io.ErrClosedPipe, "stuck")
		}
		client.Close()
		<-done
		<-read
		require.Equal(t, b.sessions, b.logouts)
		for _, r := range told.told {
			require.NotEmpty(t, r.classes)
			require.Less(t, len(r.transcript), 32<<10)
		}
		for _, m := range b.all() {
			require.NotEmpty(t, m.To)
		}
	})
}
