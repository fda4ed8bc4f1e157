package queue_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// secluded is a directory for nobody but its owner and its group.
func secluded(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o730))
	return dir
}

// full has everything that a submission can carry.
func full() *mtakit.Envelope {
	return &mtakit.Envelope{
		Sender: `"odd <user>"@example.org`,
		Options: smtp.MailOptions{Body: smtp.Body8BitMIME, UTF8: true, Return: smtp.DSNReturnHeaders,
			EnvelopeID: "a+b=c d"},
		Recipients: []mtakit.Recipient{
			{Address: "bob@example.net"},
			{Address: "jürgen@example.net", Options: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyDelayed},
				OriginalRecipientType: smtp.DSNAddressTypeUTF8, OriginalRecipient: `jürgen\+=@example.net`}},
			{Address: "c@example.net", Options: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever},
				OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "c + d@example.net"}},
		},
		NotBefore: time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC),
		Attrs:     map[string]string{"tenant": "a\nb = \x00\xff", "": "", queue.AttrFullName: "Jürgen, the First"},
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	s, dir, want := newSpool(), secluded(t), full()
	name, err := queue.Drop(t.Context(), dir, want, strings.NewReader("Subject: x\n\nHi"))
	require.NoError(t, err)
	assert.Equal(t, []string{name}, names(t, dir))
	info, err := os.Stat(filepath.Join(dir, name))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o444), info.Mode())

	n, err := (&queue.Maildrop{Dir: dir, Queue: direct(s), Hostname: "mx.example.org"}).Look(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	assert.Empty(t, names(t, dir))
	got := s.get("M1")
	assert.Contains(t, got.Envelope.Attrs, queue.AttrUID)
	delete(got.Envelope.Attrs, queue.AttrUID)
	got.Envelope.Arrival = time.Time{}
	assert.Equal(t, want, got.Envelope)
	var b bytes.Buffer
	_, err = got.Message.WriteTo(&b)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(b.String(), "Received: by mx.example.org (mtakit, from userid "), b.String())
	assert.Contains(t, b.String(), "\r\n\tid "+name+"; ")
	assert.Equal(t, "Subject: x\r\n\r\nHi\r\n", untraced(t, b.String()))
}

// What fails leaves nothing.
func TestDropRefuses(t *testing.T) {
	t.Parallel()
	dir := secluded(t)
	to := []mtakit.Recipient{{Address: "b@example.net"}}
	for name, env := range map[string]*mtakit.Envelope{
		"nobody":        {Sender: "a@example.org"},
		"line in path":  {Sender: "a@example.org>\nrecipient: <x@example.net", Recipients: to},
		"CR":            {Sender: "a\r@example.org", Recipients: to},
		"bracket":       {Sender: "a> NOTIFY=NEVER <", Recipients: to},
		"no quote":      {Sender: `a"b@example.org`, Recipients: to},
		"empty":         {Recipients: []mtakit.Recipient{{}}},
		"long":          {Sender: strings.Repeat("x", 2000), Recipients: to},
		"not UTF-8":     {Sender: "\xff@example.org", Recipients: to},
		"bad ENVID":     {Options: smtp.MailOptions{EnvelopeID: "a\nb"}, Recipients: to},
		"bad BODY":      {Options: smtp.MailOptions{Body: "BINARYMIME"}, Recipients: to},
		"bad RET":       {Options: smtp.MailOptions{Return: "X\nsender: <>"}, Recipients: to},
		"bad NOTIFY":    {Recipients: []mtakit.Recipient{{Address: "b", Options: smtp.RcptOptions{Notify: []smtp.DSNNotify{"NEVER\n", "X"}}}}},
		"bad ORCPT":     {Recipients: []mtakit.Recipient{{Address: "b", Options: smtp.RcptOptions{OriginalRecipient: "a\nb"}}}},
		"full name":     {Recipients: to, Attrs: map[string]string{queue.AttrFullName: "a\nsender: b"}},
		"spaces":        {Recipients: to, Attrs: map[string]string{queue.AttrFullName: " a"}},
		"hold":          {Recipients: to, Hold: "x"},
		"filter":        {Recipients: to, Filter: "x:y"},
		"priority":      {Recipients: to, Priority: 1},
		"params":        {Recipients: to, Params: []mtakit.Param{{Name: "XVERP"}}},
		"long attr":     {Recipients: to, Attrs: map[string]string{"a": strings.Repeat("x", 5000)}},
		"year too long": {Recipients: to, NotBefore: time.Date(200000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		_, err := queue.Drop(t.Context(), dir, env, strings.NewReader("Subject: x\n\nHi"))
		require.ErrorIs(t, err, queue.ErrSubmission, name)
	}
	good := &mtakit.Envelope{Recipients: to}
	_, err := queue.Drop(t.Context(), dir, good, iotest.ErrReader(errDisk))
	require.ErrorIs(t, err, errDisk)
	_, err = queue.Drop(t.Context(), dir, good, iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("Subject: x\n\nHi"))))
	require.ErrorIs(t, err, iotest.ErrTimeout)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = queue.Drop(ctx, dir, good, io.MultiReader(strings.NewReader("x: y\n"), readerFunc(func(p []byte) (int, error) {
		cancel()
		return copy(p, "more"), nil
	})))
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, names(t, dir))

	for _, mode := range []fs.FileMode{0o777, 0o1777, 0o732, 0o731} {
		require.NoError(t, os.Chmod(dir, mode))
		_, err = queue.Drop(t.Context(), dir, good, strings.NewReader("x"))
		require.ErrorIs(t, err, fs.ErrPermission)
	}
	_, err = queue.Drop(t.Context(), filepath.Join(dir, "absent"), good, strings.NewReader("x"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = queue.Drop(t.Context(), file, good, strings.NewReader("x"))
	require.Error(t, err)
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A stream that was cut off is no shorter message.
func TestSubmissionLength(t *testing.T) {
	t.Parallel()
	env, message := &mtakit.Envelope{Recipients: []mtakit.Recipient{{Address: "b"}}}, "Subject: x\n\nHi"
	var b bytes.Buffer
	require.NoError(t, queue.WriteSubmission(&b, env, int64(len(message)), strings.NewReader(message)))
	text := b.String()
	for text, bad := range map[string]bool{text: false, text[:len(text)-1]: true, text[:strings.Index(text, "Subject")]: true,
		text + "x": true, strings.Replace(text, "length: 14", "length: 0", 1): true} {
		_, r, err := queue.ReadSubmission(strings.NewReader(text), 0)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		assert.Equal(t, bad, errors.Is(err, queue.ErrSubmission), "%q: %v", text, err)
		if !bad {
			assert.Equal(t, message, string(got))
		}
		s := newSpool()
		_, err = (&queue.Maildrop{Queue: direct(s)}).Submit(t.Context(), 1, strings.NewReader(text))
		assert.Equal(t, bad, err != nil)
		assert.Equal(t, bad, s.len() == 0)
	}
}

func FuzzDrop(f *testing.F) {
	f.Add("a@example.org", "b@example.net", "b@example.net", "id", "k", "v", "8BITMIME", "FULL", "NEVER", "Subject: x\n\nHi", int64(1))
	f.Add(`"a b"@c`, "jürgen@x", `\x{}`, "+", "\n", "=", "", "", "", "\r\r\n", int64(-1))
	f.Add("0", "0", "\x8d", "0", "0", "0", "", "", "", "0", int64(1))
	f.Add("a", "b", "", "", "fullname", " x", "", "", "", "", int64(0))
	f.Add("<>", "\\", "a;b", "", "", "", "7BIT", "HDRS", "SUCCESS", "", int64(1<<40))
	f.Fuzz(func(t *testing.T, sender, recipient, orcpt, envid, name, value, body, ret, notify, message string, at int64) {
		want := &mtakit.Envelope{
			Sender:     sender,
			Options:    smtp.MailOptions{Body: smtp.BodyType(body), Return: smtp.DSNReturn(ret), EnvelopeID: envid},
			Recipients: []mtakit.Recipient{{Address: "first@example.net"}, {Address: recipient}},
			Attrs:      map[string]string{name: value},
			NotBefore:  time.Unix(at, 0).UTC(),
		}
		if notify != "" {
			want.Recipients[1].Options.Notify = []smtp.DSNNotify{smtp.DSNNotify(notify)}
		}
		if orcpt != "" {
			want.Recipients[1].Options.OriginalRecipient, want.Recipients[1].Options.OriginalRecipientType = orcpt, smtp.DSNAddressTypeUTF8
		}
		var b bytes.Buffer
		if err := queue.WriteSubmission(&b, want, int64(len(message)), strings.NewReader(message)); err != nil {
			require.ErrorIs(t, err, queue.ErrSubmission)
			return
		}
		got, r, err := queue.ReadSubmission(&b, 2)
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, message, string(text))
		want.Options.UTF8, want.Options.Size = got.Options.UTF8, int64(len(message))
		require.Equal(t, want, got)
	})
}
