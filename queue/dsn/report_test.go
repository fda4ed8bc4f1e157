package dsn_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"bufio"

	"github.com/emersion/go-message"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/dsn"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func original() *mtakit.Message {
	return mtakit.NewMessage([]byte("From: a@example.org\r\nSubject: hello\r\n\r\nHi Bob\r\n"))
}

func failure() dsn.Report {
	return dsn.Report{
		Hostname: "mx.example.org", To: "a@example.org", ID: "3K2x9", Sender: "a@example.org", EnvelopeID: "env 1",
		Arrival: noon.Add(-time.Hour), Date: noon, Message: original(),
		Recipients: []dsn.Recipient{{
			Address: "bob@example.net", Original: "robert@example.com", ORCPT: "robert@example.com", ORCPTType: smtp.DSNAddressTypeRFC822,
			Result: mtakit.Result{Outcome: mtakit.Bounced, Status: smtp.EnhancedCode{5, 1, 1}, Remote: "mx.example.net[192.0.2.1]:25",
				Reply: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such\nuser here"}},
		}, {
			Address: "carol@example.net",
			Result:  mtakit.Result{Outcome: mtakit.Bounced, Status: smtp.EnhancedCode{4, 4, 7}, Diagnostic: "connection refused"},
		}},
	}
}

// encode is Encode into memory.
func encode(t *testing.T, r *dsn.Report) (report []byte, eightbit bool) {
	t.Helper()
	var b bytes.Buffer
	eightbit, err := r.Encode(&b)
	require.NoError(t, err)
	return b.Bytes(), eightbit
}

func TestGolden(t *testing.T) {
	t.Parallel()
	delay, success, header, postmaster, international, verify := failure(), failure(), failure(), failure(), failure(), failure()
	delay.Kind, delay.RetryUntil = dsn.Delay, noon.Add(100*time.Hour)
	success.Kind = dsn.Success
	success.Recipients = []dsn.Recipient{
		{Address: "b@example.net", Result: mtakit.Result{Outcome: mtakit.Delivered}},
		{Address: "c@example.net", Result: mtakit.Result{Outcome: mtakit.Relayed}},
		{Address: "d@example.net", Result: mtakit.Result{Outcome: mtakit.Expanded}},
	}
	header.HeaderOnly = true
	postmaster.Postmaster, postmaster.To = true, "postmaster@example.org"
	international.To, international.Sender = "jürgen@example.org", "jürgen@example.org"
	international.Recipients[0].Address = "用户@example.net"
	international.UTF8, international.Message = true, mtakit.NewMessage([]byte("From: jürgen@example.org\r\n\r\nHi\r\n"))
	// An ASCII sender of a message with SMTPUTF8: nothing in the report needs it.
	ascii := failure()
	ascii.UTF8, ascii.Message = true, mtakit.NewMessage([]byte("From: a@example.org\r\nSubject: Grüße\r\n\r\nHi\r\n"))
	ascii.Recipients[0].Address, ascii.Recipients[0].ORCPT, ascii.Recipients[0].ORCPTType = "用户@example.net", "用户@example.com", "utf-8"
	verify.Kind, verify.Threaded = dsn.Verify, true
	verify.Message = mtakit.NewMessage([]byte("Message-ID: <1@example.org>\r\n\r\n"))
	verify.Recipients = append(verify.Recipients, dsn.Recipient{Address: "b@example.net", Result: mtakit.Result{Outcome: mtakit.Delivered}},
		dsn.Recipient{Address: "c@example.net", Result: mtakit.Result{Diagnostic: "later"}})
	for name, r := range map[string]dsn.Report{"ascii": ascii, "verify": verify, "failure": failure(), "delay": delay, "success": success,
		"header": header, "postmaster": postmaster, "international": international} {
		b, _ := encode(t, &r)
		check(t, &r, b)
		golden(t, name, regexp.MustCompile(`[A-Z2-7]{26}`).ReplaceAll(b, []byte("RANDOM")))
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".eml")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got), name)
}

// check parses a report with a reader that is not ours, and with a strict one.
func check(t *testing.T, r *dsn.Report, b []byte) {
	t.Helper()
	for line := range strings.SplitSeq(string(b), "\n") {
		if len(line) > 998 && r.Limit < 100000 {
			t.Fatalf("line of %d bytes", len(line))
		}
	}
	require.True(t, bytes.HasSuffix(b, []byte("\r\n")))
	e, err := message.Read(bytes.NewReader(b))
	require.True(t, err == nil || message.IsUnknownCharset(err), "%v", err)
	fields := e.Header.Fields()
	var names []string
	for fields.Next() {
		names = append(names, fields.Key())
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return name == "In-Reply-To" || name == "References" || name == "Content-Transfer-Encoding"
	})
	require.Equal(t, []string{"Date", "From", "Subject", "To", "Auto-Submitted", "Message-Id", "Mime-Version", "Content-Type"}, names)
	parts := e.MultipartReader()
	require.NotNil(t, parts)
	var kinds []string
	for {
		p, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		require.True(t, err == nil || message.IsUnknownCharset(err), "%v", err)
		kind, _, err := p.Header.ContentType()
		require.NoError(t, err)
		kinds = append(kinds, kind)
		if strings.HasSuffix(kind, "delivery-status") {
			body, err := io.ReadAll(p.Body)
			require.NoError(t, err)
			checkStatus(t, r, body)
		}
	}
	require.Len(t, kinds, 3)
	assert.Equal(t, "text/plain", kinds[0])
	assert.Contains(t, kinds[1], "delivery-status")
}

var allowed = map[string]bool{"Reporting-Mta": true, "Original-Envelope-Id": true, "X-Mtakit-Queue-Id": true, "X-Mtakit-Sender": true,
	"Arrival-Date": true, "Final-Recipient": true, "Original-Recipient": true, "Action": true, "Status": true, "Remote-Mta": true,
	"Diagnostic-Code": true, "Will-Retry-Until": true}

// checkStatus wants one block of fields for the message and one for each
// recipient, with nothing in them that the writer does not write.
func checkStatus(t *testing.T, r *dsn.Report, body []byte) {
	t.Helper()
	require.True(t, utf8.Valid(body))
	reader := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(body, "\r\n\r\n"...))))
	for i := range len(r.Recipients) + 1 {
		h, err := reader.ReadMIMEHeader()
		require.NoError(t, err)
		for k, v := range h {
			require.True(t, allowed[k], "field %q", k)
			require.Len(t, v, 1, k)
		}
		if i > 0 {
			require.NotEmpty(t, h["Final-Recipient"])
			require.Regexp(t, `^[245]\.\d{1,3}\.\d{1,3}$`, h.Get("Status"))
			require.Contains(t, []string{"failed", "delayed", "delivered", "relayed", "expanded", "deliverable", "undeliverable"}, h.Get("Action"))
		}
	}
	rest, _ := io.ReadAll(reader.R)
	require.Empty(t, strings.TrimSpace(string(rest)))
}

func TestReturnedMessage(t *testing.T) {
	t.Parallel()
	r := failure()
	r.Message = mtakit.NewMessage([]byte("Subject: x\r\nX-Long: " + strings.Repeat("y", 300) + "\r\n\r\n" + strings.Repeat("z", 300)))
	r.Limit = 200
	b, _ := encode(t, &r)
	assert.Regexp(t, "text/rfc822-headers\r\n\r\nSubject: x\r\n\r\n--[A-Z2-7]{26}--", string(b))
	assert.NotContains(t, string(b), "yyy")
	r.Limit = 2000
	b, _ = encode(t, &r)
	assert.Contains(t, string(b), "message/rfc822\r\n\r\nSubject: x\r\nX-Long")
	assert.Regexp(t, "zzz\r\n--[A-Z2-7]{26}--", string(b))
}

func TestEightBit(t *testing.T) {
	t.Parallel()
	r := failure()
	_, eightbit := encode(t, &r)
	assert.False(t, eightbit)
	r.Message = mtakit.NewMessage([]byte("Subject: x\r\n\r\n\xe4\xf6\xfc\r\n"))
	b, eightbit := encode(t, &r)
	assert.True(t, eightbit)
	assert.Equal(t, 2, strings.Count(string(b), "Content-Transfer-Encoding: 8bit"))
}

func TestNothingToReport(t *testing.T) {
	t.Parallel()
	_, err := new(dsn.Report).Encode(io.Discard)
	require.ErrorIs(t, err, dsn.ErrEmpty)
}

// A report of any length is written in pieces, and is not too long for its
// reader: most mail servers refuse more than 10 MB.
func TestHuge(t *testing.T) {
	t.Parallel()
	r := failure()
	r.Recipients = nil
	for i := range 20000 {
		r.Recipients = append(r.Recipients, dsn.Recipient{Address: fmt.Sprintf("user%d@example.net", i),
			Result: mtakit.Result{Outcome: mtakit.Bounced, Diagnostic: strings.Repeat("grün ", 400)}})
	}
	var out pieces
	_, err := r.Encode(&out)
	require.NoError(t, err)
	assert.LessOrEqual(t, out.longest, 64<<10)
	assert.Less(t, out.total, 10<<20)
}

type pieces struct{ total, longest int }

func (p *pieces) Write(b []byte) (int, error) {
	p.total, p.longest = p.total+len(b), max(p.longest, len(b))
	return len(b), nil
}

// full is a disk with room for so many bytes.
type full int

func (f *full) Write(b []byte) (int, error) {
	if *f -= full(len(b)); *f < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	r := failure()
	r.Message = mtakit.NewMessage([]byte("\r\n" + strings.Repeat("x", 40000)))
	for _, room := range []full{0, 1000, 33000} {
		_, err := r.Encode(&room)
		require.ErrorIs(t, err, io.ErrShortWrite)
		require.NotErrorIs(t, err, dsn.ErrMessage)
	}
}

type broken struct{ mtakit.Bytes }

func (broken) Open() (io.ReadCloser, error) { return nil, io.ErrUnexpectedEOF }

func TestUnreadableMessage(t *testing.T) {
	t.Parallel()
	r := failure()
	r.Message.Body = broken{}
	_, err := r.Encode(io.Discard)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorIs(t, err, dsn.ErrMessage)
	r.Message.Body = half{}
	_, err = r.Encode(io.Discard)
	require.ErrorIs(t, err, dsn.ErrMessage)
	r.HeaderOnly = true
	_, err = r.Encode(io.Discard)
	require.NoError(t, err)
}

// half is a body that can be read to its middle.
type half struct{ mtakit.Bytes }

func (half) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF))), nil
}

func TestHostile(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a\r\nBcc: victim@example.org", "\r\n\r\nbody", "\n--=_boundary--\n", strings.Repeat("x", 5000),
		strings.Repeat("ü", 3000), "\x00\x01\x7f\u0085\u2028z", "\xff\xfe", "", " ", "; ; ;", "a\rFinal-Recipient: rfc822; b"} {
		checkHostile(t, s)
	}
}

func checkHostile(t *testing.T, s string) {
	t.Helper()
	for _, kind := range []dsn.Kind{dsn.Failure, dsn.Delay, dsn.Success, dsn.Verify} {
		for _, international := range []bool{false, true} {
			r := failure()
			r.Kind, r.UTF8, r.Threaded = kind, international, true
			r.Message = mtakit.NewMessage([]byte("Message-ID: <" + s[:min(len(s), 500)] + "@x>\r\n\r\n"))
			r.Hostname, r.To, r.ID, r.Sender, r.EnvelopeID = s, s, s, s, s
			if international {
				r.To = "ü" + s
				r.Templates.Failure = dsn.Template{Charset: "iso-8859-1", Subject: s, From: s, Text: s + "\n$myhostname"}
			}
			result := mtakit.Result{Outcome: mtakit.Bounced, Diagnostic: s, Remote: s,
				Reply: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, len(s), -1}, Message: s}}
			r.Recipients[0] = dsn.Recipient{Address: s, Original: s + "x", ORCPT: s, Result: result}
			r.Recipients[1].Result.Diagnostic = s
			b, _ := encode(t, &r)
			check(t, &r, b)
		}
	}
}

func FuzzReport(f *testing.F) {
	f.Add("a\r\nBcc: b")
	f.Add("--x\r\n\r\n.\r\n")
	f.Add("\xc3\x28 \u2029")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) < 20000 {
			checkHostile(t, s)
		}
	})
}

func Example() {
	r := dsn.Report{
		Hostname: "mx.example.org", To: "alice@example.org", Sender: "alice@example.org",
		Message: mtakit.NewMessage([]byte("Subject: hello\r\n\r\nHi Bob\r\n")),
		Recipients: []dsn.Recipient{{Address: "bob@example.net", Result: mtakit.Result{
			Outcome: mtakit.Bounced, Status: smtp.EnhancedCode{5, 1, 1}, Diagnostic: "unknown user"}}},
	}
	var b strings.Builder
	r.Encode(&b)
	for line := range strings.SplitSeq(b.String(), "\r\n") {
		if strings.HasPrefix(line, "Final-") || strings.HasPrefix(line, "Status") || strings.HasPrefix(line, "Action") {
			fmt.Println(line)
		}
	}
	// Output:
	// Final-Recipient: rfc822; bob@example.net
	// Action: failed
	// Status: 5.1.1
}
