package queue

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// slowLines is what submission.message does, in the most obvious way.
func slowLines(s string) string {
	if s == "" {
		return ""
	}
	lines := strings.Split(s, "\n")
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(strings.TrimSuffix(line, "\r") + "\r\n")
	}
	return b.String()
}

func TestSubmissionLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<16-1)
	for _, text := range []string{"", "\n", "\r", "\r\n", "a", "a\r", "a\nb", "\r\r\n", long, long + "\r\n", long + "\r",
		long + "\rx\n", "x" + long + "\r\n", "\n" + long + "\r\ny"} {
		var b bytes.Buffer
		require.NoError(t, newSubmission(strings.NewReader(text), 1).message(&b))
		require.Equal(t, slowLines(text), b.String())
	}
}

func FuzzSubmission(f *testing.F) {
	f.Add("sender: a\nrecipient: b\n\nSubject: x\r\n\r\nHi", 0)
	f.Add("sender: \"a b\"@c\r\nrecipient: <>\r\n\r\n\r", 1<<16)
	f.Add("sender:\nRecipient:x\n\n\r\r\n\n", 1<<16-40)
	f.Fuzz(func(t *testing.T, text string, pad int) {
		if pad > 0 && pad < 1<<18 {
			text += strings.Repeat("x", pad) + "\r\ny"
		}
		s := newSubmission(strings.NewReader(text), 10)
		env, err := s.envelope()
		if err != nil {
			require.True(t, errors.Is(err, ErrSubmission))
			return
		}
		require.NotEmpty(t, env.Recipients)
		require.LessOrEqual(t, len(env.Recipients), 10)
		for _, r := range env.Recipients {
			require.NotEmpty(t, r.Address)
			require.False(t, strings.ContainsAny(r.Address, "\r\n\x00"))
		}
		rest := text[emptyLine(text):]
		var b bytes.Buffer
		require.NoError(t, s.message(&b))
		require.Equal(t, slowLines(rest), b.String())
	})
}

// emptyLine returns where the text behind the first empty line begins.
func emptyLine(text string) int {
	for i := 0; ; {
		n := strings.IndexByte(text[i:], '\n')
		if n < 0 {
			return -1
		}
		if strings.TrimSuffix(text[i:i+n], "\r") == "" {
			return i + n + 1
		}
		i += n + 1
	}
}
