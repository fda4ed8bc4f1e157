package dsn_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/dsn"
)

func TestTemplates(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("testdata", "bounce.cf"))
	require.NoError(t, err)
	templates, err := dsn.ParseTemplates(b)
	require.NoError(t, err)
	crlf, err := dsn.ParseTemplates(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")))
	require.NoError(t, err)
	assert.Equal(t, templates, crlf)

	failure, delay, success, postmaster := failure(), failure(), failure(), failure()
	delay.Kind, delay.Params = dsn.Delay, dsn.Params{}
	delay.Params.SetDuration("delay_warning_time", 4*time.Hour)
	delay.Params.SetDuration("maximal_queue_lifetime", 5*24*time.Hour)
	success.Kind = dsn.Success
	postmaster.Postmaster = true
	for name, r := range map[string]dsn.Report{"template-failure": failure, "template-delay": delay,
		"template-success": success, "template-postmaster": postmaster} {
		r.Templates = templates
		b, _ := encode(t, &r)
		check(t, &r, b)
		golden(t, name, regexp.MustCompile(`[A-Z2-7]{26}`).ReplaceAll(b, []byte("RANDOM")))
	}
}

func TestTemplateText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"a $x b", "a 1 b"}, {"${x}y", "1y"}, {"$(x)y", "1y"}, {"$xy", "$xy"}, {"$$x", "$x"}, {"$$$x", "$1"},
		{"$", "$"}, {"${x", "${x"}, {"${}", "${}"}, {"$(x}", "$(x}"}, {"$ x", "$ x"}, {"$myhostname.", "mx.example.org."},
		{"100 $", "100 $"}, {"a\tb", "a\tb"}, {"a\x00\rb", "a  b"}, {"$n", "line one Bcc: x"},
	} {
		r := failure()
		r.Templates.Failure.Text = tt.text + "\n"
		r.Params = dsn.Params{"x": "1", "n": "line one\nBcc: x"}
		b, _ := encode(t, &r)
		assert.Contains(t, string(b), "charset=us-ascii\r\n\r\n"+tt.want+"\r\n\r\n<bob@", tt.text)
	}
}

func TestTemplateCharset(t *testing.T) {
	t.Parallel()
	r := failure()
	r.Templates.Failure = dsn.Template{Charset: "iso-8859-1", Text: "Gr\xfc\xdfe\n"}
	r.Recipients[0].Address = "ü@example.net"
	b, eightbit := encode(t, &r)
	assert.True(t, eightbit)
	assert.Contains(t, string(b), "charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xfc\xdfe\r\n\r\n<?@example.net>")
	r.Templates.Failure = dsn.Template{Charset: "UTF-8", Text: "Grüße\n", Subject: "Grüße", From: "Postamt <post>"}
	b, _ = encode(t, &r)
	assert.Contains(t, string(b), "charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n\r\n<ü@example.net>")
	assert.Contains(t, string(b), "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n")
	assert.Contains(t, string(b), "From: Postamt <post@mx.example.org>\r\n")
}

func TestBadTemplates(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"failure_template = <<EOF\nhello\n":                                         `line 3: no line "EOF" at the end of failure_template`,
		"\n\nmy_template = <<EOF\nEOF\n":                                            "line 3: no such template",
		"failure_template: x\n":                                                     "line 1: want",
		"failure_template = <<'EOF'\nEOF\n":                                         "line 1: want",
		"failure_template = <<\n":                                                   "line 1: want",
		"failure_template = <<A\nA\nfailure_template = <<A\nA\n":                    "line 3: a second failure_template",
		"failure_template = <<EOF\nSubjekt: x\n\nEOF\n":                             "no such template header",
		"failure_template = <<EOF\nSubject: ü\n\nEOF\n":                             "must be ASCII",
		"failure_template = <<EOF\nSubject: a\x00b\n\nEOF\n":                        "must be ASCII",
		"failure_template = <<EOF\nCharset: us-ascii\n\nü\nEOF\n":                   "needs a Charset",
		"failure_template = <<EOF\n\nü\nEOF\n":                                      "needs a Charset",
		"failure_template = <<EOF\nCharset: utf-8\n\n\xff\nEOF\n":                   "not UTF-8",
		"failure_template = <<EOF\nCharset: a; b=c\n\nx\nEOF\n":                     "no charset",
		"# x\nfailure_template = <<EOF\nEOF\nsuccess_template = <<EOF\n Subject: x": "line 5: no line",
	} {
		_, err := dsn.ParseTemplates([]byte(file))
		if assert.Error(t, err, "%q", file) {
			assert.Contains(t, err.Error(), want)
		}
	}
	empty, err := dsn.ParseTemplates([]byte("# nothing\n   \n\n"))
	require.NoError(t, err)
	assert.Zero(t, empty)
}

func FuzzTemplates(f *testing.F) {
	f.Add("failure_template = <<EOF\nCharset: x\nFrom: a\nSubject: b\n\n$myhostname ${x}\nEOF\n")
	f.Add("failure_template = <<EOF\n\n$\x80$(\nEOF\ndelay_template=<<X\nX")
	f.Fuzz(func(t *testing.T, s string) {
		templates, err := dsn.ParseTemplates([]byte(s))
		if err != nil || len(s) > 20000 {
			return
		}
		for _, kind := range []dsn.Kind{dsn.Failure, dsn.Delay} {
			r := failure()
			r.Kind, r.Templates = kind, templates
			b, _ := encode(t, &r)
			if strings.ContainsAny(templates.Failure.From, "(<\"") {
				continue // it is for the administrator to write an address
			}
			check(t, &r, b)
		}
	})
}

// A site has words of its own for those whose mail could not be delivered.
func ExampleParseTemplates() {
	templates, err := dsn.ParseTemplates([]byte(`
failure_template = <<EOF
Subject: We are sorry

$myhostname could not deliver your message.
EOF
`))
	fmt.Println(err)
	r := dsn.Report{
		Hostname: "mx.example.org", To: "alice@example.org", Sender: "alice@example.org", Templates: templates,
		Message: mtakit.NewMessage([]byte("Subject: hello\r\n\r\nHi Bob\r\n")),
		Recipients: []dsn.Recipient{{Address: "bob@example.net", Result: mtakit.Result{
			Outcome: mtakit.Bounced, Diagnostic: "unknown user"}}},
	}
	var b strings.Builder
	_, err = r.Encode(&b)
	fmt.Println(err)
	n, err := dsn.Read(strings.NewReader(b.String()))
	subject, _ := n.Header.Get("Subject")
	fmt.Println(subject, err)
	fmt.Print(n.Text)
	// Output:
	// <nil>
	// <nil>
	// We are sorry <nil>
	// mx.example.org could not deliver your message.
	//
	// <bob@example.net>: unknown user
}
