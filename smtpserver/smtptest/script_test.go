package smtptest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"250 Ok", "250 Ok", true},
		{"250 Ok", "250 Ok ", true},
		{"250 Ok", "250 Okay", false},
		{"250 *", "250 anything", true},
		{"250 *", "251 anything", false},
		{"a*b*c", "a1b2c", true},
		{"a*b*c", "a1c2b", false},
		{"ab*ba", "aba", false},
		{"*", "", true},
	} {
		require.Equal(t, c.want, matches(c.pattern, c.text), "%q %q", c.pattern, c.text)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"hello", "Q: x", "R: unquoted", "X: fly", "X: pause soon", "X"} {
		_, err := parse("file.smtp", "# first\n"+text+"\n")
		require.ErrorContains(t, err, "file.smtp:2: ")
	}
}

// echo is a server that repeats each line, and closes at "bye".
func echo(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "hello\r\n")
	for in := bufio.NewReader(c); ; {
		l, err := in.ReadString('\n')
		if err != nil || l == "bye\r\n" {
			return
		}
		fmt.Fprint(c, l)
	}
}

const dialogue = `# A dialogue with echo.
S: hello
C: one
C: two
S: one
S: t*
R: "th\x72ee\r\n"
S: three
C: bye
X: eof
X: dial
S: hello
X: pause 10h
C: x
S: x
X: close
`

func TestRun(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "d.smtp")
	require.NoError(t, os.WriteFile(file, []byte(dialogue), 0o600))
	synctest.Test(t, func(t *testing.T) { Run(t, Pipe(t, echo), file) })
}

// A player that sees something else says where.
func TestDifference(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"S: good day\n":             "1: \nwant good day\ngot  hello",
		"S: hello\nX: eof\n":        "2: want the connection to be closed",
		"S: hello\nC: bye\nS: x\n":  `3: want "x", got EOF`,
		"S: hello\nC: x\nX: eof\n":  `3: want the connection to be closed, got "x"`,
		"S: hello\nX: tls\nS: hi\n": "2: ",
	} {
		synctest.Test(t, func(t *testing.T) {
			steps, err := parse("", text)
			require.NoError(t, err)
			p := &player{dial: Pipe(t, echo)}
			p.open()
			defer p.close()
			require.ErrorContains(t, p.play(steps), want)
		})
	}
}

// -update writes what came and keeps the lines that match.
func TestUpdate(t *testing.T) {
	t.Parallel()
	script := strings.NewReplacer("S: one\n", "", "S: three\n", "S: four\nS: five\n", "S: hello", "S:").Replace(dialogue)
	steps, err := parse("", script)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		p := &player{dial: Pipe(t, echo), update: true}
		p.open()
		defer p.close()
		require.NoError(t, p.play(steps))
		want := strings.Replace(dialogue, "S: t*", "S: two", 1)
		require.Equal(t, want, p.transcript.String())
	})
}
