package filter

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzStructure follows random lines: the number of open parts stays bounded, and
// every boundary that is open is found.
func FuzzStructure(f *testing.F) {
	f.Add("multipart/mixed; boundary=b", "--b\n--b--\n--bb\n-\n--\n")
	f.Add("multipart/digest; boundary=\"a b\"", "--a b\ntext/plain\n--a b--")
	f.Add("message/rfc822", "multipart/mixed; boundary=\"\\\"(\"\n--\"(")
	f.Fuzz(func(t *testing.T, first, lines string) {
		var s structure
		s.begin(first)
		for line := range strings.SplitSeq(lines, "\n") {
			if s.isBoundary([]byte(line)) {
				require.True(t, strings.HasPrefix(line, "--"))
				s.boundary([]byte(line))
			} else {
				s.begin(line)
			}
			require.LessOrEqual(t, len(s.levels), maxNesting)
			for _, l := range s.levels {
				require.NotEmpty(t, l.boundary)
				require.LessOrEqual(t, len(l.boundary), maxBoundary)
				require.True(t, len(l.boundary) < 1 || s.isBoundary([]byte("--"+l.boundary)))
			}
		}
	})
}

// FuzzParameter compares with mime.ParseMediaType where that finds no fault.
func FuzzParameter(f *testing.F) {
	for _, s := range []string{"boundary=b", `a=b; BOUNDARY="x y\"z"`, `boundary="a;b"; c=d`, "boundary = b ", `boundary="b" ; x=y`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, params string) {
		got := parameter(params, "boundary")
		require.LessOrEqual(t, len(got), len(params))
		if strings.ContainsAny(params, "()*%\\\r\n") {
			return // comments and RFC 2231, which one of the two does not know
		}
		kind, want, err := mime.ParseMediaType("multipart/mixed; " + params)
		if err == nil && kind == "multipart/mixed" && want["boundary"] != "" {
			require.Equal(t, want["boundary"], got)
		}
	})
}

// The parts that mime/multipart finds are those that the checks find.
func FuzzParts(f *testing.F) {
	f.Add("--b\r\nA: 1\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\n")
	f.Add("--b\r\nA: 1\r\n b\r\n\r\n--bx\r\n--b--")
	f.Fuzz(func(t *testing.T, body string) {
		parts, r := 0, multipart.NewReader(strings.NewReader(body), "b")
		for {
			p, err := r.NextRawPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, p); err != nil {
				return
			}
			parts++
		}
		var s structure
		s.begin("multipart/mixed; boundary=b")
		found := 0
		for line := range bytes.Lines([]byte(body)) {
			if line = bytes.TrimRight(line, "\r\n"); s.isBoundary(line) {
				_, ends := s.find(line)
				if s.boundary(line); !ends {
					found++
				}
			}
		}
		require.GreaterOrEqual(t, found, parts, "a part that nobody looks at")
	})
}
