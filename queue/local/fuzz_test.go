package local

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
)

// FuzzMbox checks that a reader of mbox(5) finds in a file the messages that were
// written to it, and no others: what was written is theirs but for a ">" before each
// "From " that begins a line.
func FuzzMbox(f *testing.F) {
	for _, text := range []string{
		hello, "", "From a\r\nFro\r\nx From b\r\n\rFrom c\nFrom d\r\r\nFr", "From: a\r\n\r\nFrom \r\n\r\nFrom ", "a: b\r\n\r\n>From c\r\n\r\n\r\n", "a: b\n\nFrom c\n\nFrom d",
		"From here\r\n\r\n", "\r\n\r\nFrom\r\n b", "\n\n\n", "\r", "F\r\nr\rFrom \x00\r\n",
	} {
		f.Add(text, "bob@there", uint8(3))
		f.Add(text, `"From b"@there`, uint8(0))
		f.Add(text, "", uint8(1))
	}
	f.Fuzz(func(t *testing.T, text, sender string, size uint8) {
		d := delivery(text, "a@here")
		d.Envelope.Sender = sender
		l := letter{envelope: d.Envelope, recipient: &d.Recipients[0], message: d.Message}
		if _, err := l.fields(); err != nil {
			return
		}
		var file, whole strings.Builder
		require.NoError(t, l.writeTo(&file, true))
		require.NoError(t, l.writeTo(&file, true))
		mails := readMbox(t, file.String())
		require.Len(t, mails, 2)
		require.Equal(t, mails[0], mails[1])

		_, err := l.message.WriteTo(&whole)
		require.NoError(t, err)
		want := strings.ReplaceAll(whole.String(), "\r\n", "\n")
		if !strings.HasSuffix(want, "\n") && want != "" {
			want += "\n"
		}
		_, got, _ := strings.Cut(mails[0], "Delivered-To: a@here\n")
		require.Equal(t, want, unquoted(got, want))
		require.Equal(t, inPieces(t, whole.String(), max(len(text), 1)), inPieces(t, whole.String(), int(size)+1))
	})
}

// readMbox parts a file as mbox(5) says: a line that begins with "From " begins a
// message, and an empty line ends it.
func readMbox(t *testing.T, file string) (mails []string) {
	t.Helper()
	for line := range strings.SplitAfterSeq(file, "\n") {
		if strings.HasPrefix(line, "From ") {
			mails = append(mails, "")
			continue
		}
		require.NotEmpty(t, mails)
		mails[len(mails)-1] += line
	}
	for i, mail := range mails {
		require.True(t, strings.HasSuffix(mail, "\n\n"), "%q", mail)
		mails[i] = mail[:len(mail)-1]
	}
	return mails
}

// unquoted takes the ">" from lines before which it was put. Who does not know how it was
// before cannot: a line that began with ">From " already looks alike.
func unquoted(mail, before string) string {
	lines, were := strings.SplitAfter(mail, "\n"), strings.SplitAfter(before, "\n")
	for i, line := range lines {
		if i < len(were) && strings.HasPrefix(were[i], "From ") {
			lines[i] = strings.TrimPrefix(line, ">")
		}
	}
	return strings.Join(lines, "")
}

func inPieces(t *testing.T, text string, size int) string {
	t.Helper()
	var b strings.Builder
	l := letterLines(&b)
	for piece := range slices.Chunk([]byte(text), size) {
		n, err := l.Write(piece)
		require.NoError(t, err)
		require.Equal(t, len(piece), n)
	}
	require.NoError(t, l.end())
	return b.String()
}

// FuzzExpand has aliases of any shape. Whatever they say, there is an end: destinations,
// each once and of the lists, or an error; and what is left over of an attempt is found again.
func FuzzExpand(f *testing.F) {
	f.Add("a: b@here c@there\nb: a@here |cat /file /dir/", "a@here", uint16(1))
	f.Add("a: \\a@here \\x@there A@HERE\nowner-a: b@here", "a@here", uint16(3))
	f.Add("a: b@here\nb: c@here\nc: d@here\nd: e@here\ne: f@here", "a@here", uint16(0))
	f.Add("a: \\ | / @here @ \\\\a@here |cat |cat", "a@here", uint16(5))
	f.Add("a:\nb: !", "b@here", uint16(0))
	f.Add("a: b+x@here b+y@here \"b c\"@here\nb+x: a+x@here b@here", "A+z@here", uint16(2))
	f.Fuzz(func(t *testing.T, text, address string, left uint16) {
		lists, said := aliases{}, map[string]bool{address: true}
		for line := range strings.SplitSeq(text, "\n") {
			name, list, _ := strings.Cut(line, ":")
			lists[strings.ToLower(name)+"@here"] = strings.Fields(list)
			for _, item := range strings.Fields(list) {
				said[item] = true
			}
		}
		const limit = 20
		a := &Agent{Domains: table{"here": ""}, Aliases: lists, Delimiter: "+", Limit: limit, Depth: 5}
		e := &mtakit.Envelope{Sender: "bob@there"}
		r := &mtakit.Recipient{Address: address}
		all, err := a.expand(t.Context(), e, r)
		if err != nil {
			require.Nil(t, all)
			return
		}
		require.NotEmpty(t, all)
		require.LessOrEqual(t, len(all), limit)
		var rest, want []string
		for i, to := range all {
			require.True(t, said[written(to)] || said[`\`+written(to)], "%q", written(to))
			require.NotContains(t, all[:i], to)
			if left>>(i%16)&1 == 0 {
				rest, want = append(rest, to.digest()), append(want, written(to))
			}
		}
		if rest == nil {
			return
		}
		e.Attrs = map[string]string{attrRest: strings.Join(rest, " ")}
		again, err := a.expand(t.Context(), e, r)
		require.NoError(t, err)
		var got []string
		for _, to := range again {
			got = append(got, written(to))
		}
		require.Equal(t, want, got)
	})
}

// written is a destination as an alias has it.
func written(to destination) string {
	if to.kind == toCommand {
		return "|" + to.text
	}
	return to.text
}

// FuzzParseUser checks that a line of passwd(5) is read to what it says.
func FuzzParseUser(f *testing.F) {
	for _, line := range []string{"a:x:1:2:name:/home/a:/bin/sh", "a:x:-1:2::/:", "a:x:1:99999999999::/:", ":x:1:2::/:", "a:x:1:2::/", "a:x:1:2:::", "a:x:01:+2::/:x:y", "a\n:x:1:2::/:"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		u, err := ParseUser(line)
		if err != nil {
			require.ErrorIs(t, err, errPasswd)
			require.Zero(t, u)
			return
		}
		require.NotEmpty(t, u.Name)
		require.True(t, u.UID >= 0 && u.GID >= 0, "%+v", u)
		fields := strings.Split(line, ":")
		again, err := ParseUser(fmt.Sprintf("%s:x:%d:%d:%s:%s:%s", u.Name, u.UID, u.GID, fields[4], u.Home, fields[6]))
		require.NoError(t, err)
		require.Equal(t, u, again)
	})
}
