package relay

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func reader(s string) *bufio.Reader { return bufio.NewReaderSize(strings.NewReader(s), replyLine) }

func TestReadReply(t *testing.T) {
	t.Parallel()
	none := smtp.NoEnhancedCode
	tests := []struct {
		in      string
		code    int
		status  smtp.EnhancedCode
		message string
	}{
		{"250 ok\r\n", 250, none, "ok"},
		{"250\r\n", 250, none, ""},
		{"250 \n", 250, none, ""},
		{"250-a\r\n250-b\r\n250 c\r\n", 250, none, "a\nb\nc"},
		{"550 5.1.1 no\r\n", 550, smtp.EnhancedCode{5, 1, 1}, "no"},
		{"550 5.7.999\r\n", 550, smtp.EnhancedCode{5, 7, 999}, ""},
		{"550-5.1.1 no\r\n550-such\r\n550 5.1.1 user\r\n", 550, smtp.EnhancedCode{5, 1, 1}, "no\nsuch\nuser"},
		{"450 5.1.1 no\r\n", 450, none, "5.1.1 no"},
		{"550 5.1.1234 no\r\n", 550, none, "5.1.1234 no"},
		{"550 5.1 no\r\n", 550, none, "5.1 no"},
		{"550 5.1.1.1 no\r\n", 550, none, "5.1.1.1 no"},
		{"250-a\r\n550 b\r\n", 550, none, "a\nb"},
		{"250 a\tb\x07\xff\xc2\x9b31m\r\n", 250, none, "a b???31m"},
		{"250 " + strings.Repeat("x", 4000) + "\r\n", 250, none, strings.Repeat("x", 4000)},
	}
	for _, tt := range tests {
		reply, err := readReply(reader(tt.in))
		require.NoError(t, err, "%q", tt.in)
		assert.Equal(t, &smtp.SMTPError{Code: tt.code, EnhancedCode: tt.status, Message: tt.message}, reply, "%q", tt.in)
	}
	for _, in := range []string{"25 ok\r\n", "250_ok\r\n", "150 ok\r\n", "650 ok\r\n", "+25 ok\r\n", "2x0 ok\r\n", "\r\n", "SSH-2.0\r\n",
		"250-a\r\nb\r\n", "250 " + strings.Repeat("x", 5000) + "\r\n", strings.Repeat("250-x\r\n", 300)} {
		_, err := readReply(reader(in))
		assert.ErrorIs(t, err, errProtocol, "%.40q", in)
	}
	for _, in := range []string{"", "250", "250 ok", "250-ok\r\n"} {
		_, err := readReply(reader(in))
		assert.ErrorIs(t, err, io.EOF, "%q", in)
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add("250-5.1.1 a\r\n250 5.1.1 b\r\n")
	f.Add("550 5.999.1000 \x00\xff\n")
	f.Add("250-\r\n-\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		reply, err := readReply(reader(in))
		if err != nil {
			return
		}
		require.True(t, reply.Code >= 200 && reply.Code <= 599)
		require.LessOrEqual(t, len(reply.Message), replyText+replyLines)
		require.True(t, utf8.ValidString(reply.Message))
		for _, r := range reply.Message {
			require.True(t, r >= ' ' && r != 0x7f || r == '\n', "%q", reply.Message)
		}
		s := status(reply)
		require.Equal(t, reply.Code/100, s[0])
		require.True(t, s[1] >= 0 && s[1] < 1000 && s[2] >= 0 && s[2] < 1000)
		_ = parseOffers(reply.Message)
	})
}

func TestParseOffers(t *testing.T) {
	t.Parallel()
	o := parseOffers("mx.example.test SIZE\npipelining\nSize 1000\nAUTH plain LOGIN\nAUTH=LOGIN\n8BITMIME\nDSN\nSMTPUTF8\nSTARTTLS\n\nX")
	assert.Equal(t, offers{pipelining: true, eightBit: true, dsn: true, utf8: true, startTLS: true, size: true, maxSize: 1000,
		auth: []string{"PLAIN", "LOGIN", "LOGIN"}}, o)
	for text, want := range map[string]int64{"x\nSIZE": 0, "x\nSIZE=5": 5, "x\nSIZE x": 0, "x\nSIZE 99999999999999999999999": 0} {
		o := parseOffers(text)
		assert.True(t, o.size)
		assert.Equal(t, want, o.maxSize, text)
	}
	assert.Equal(t, offers{}, parseOffers("PIPELINING"))
}
