package smtpserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/smtpserver"
	"github.com/mtakit/mtakit/smtpserver/auth"
)

// memory is a queue that forgets when the process ends.
type memory struct {
	mu       sync.Mutex
	kept     []kept
	begun    []int64
	open     int // drafts that were neither committed nor discarded
	beginErr error
	writeErr error
	readErr  error
	takeErr  error
}

type kept struct {
	id  string
	env *mtakit.Envelope
	raw string
}

func (q *memory) Begin(_ context.Context, size int64) (mtakit.Draft, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.begun = append(q.begun, size)
	if q.beginErr != nil {
		return nil, q.beginErr
	}
	q.open++
	return &memoryDraft{q: q}, nil
}

func (q *memory) all() []kept {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]kept(nil), q.kept...)
}

func (q *memory) opened() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open
}

type memoryDraft struct {
	q    *memory
	raw  bytes.Buffer
	over bool
}

func (d *memoryDraft) Write(p []byte) (int, error) {
	if d.q.writeErr != nil {
		return 0, d.q.writeErr
	}
	return d.raw.Write(p)
}

func (d *memoryDraft) Message(context.Context) (*mtakit.Message, error) {
	return mtakit.NewMessage(d.raw.Bytes()), d.q.readErr
}

func (d *memoryDraft) Commit(_ context.Context, env *mtakit.Envelope, m *mtakit.Message) (string, error) {
	defer d.Discard()
	if d.q.takeErr != nil {
		return "", d.q.takeErr
	}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		return "", err
	}
	d.q.mu.Lock()
	defer d.q.mu.Unlock()
	id := fmt.Sprintf("Q%d", len(d.q.kept)+1)
	d.q.kept = append(d.q.kept, kept{id, env.Clone(), b.String()})
	return id, nil
}

func (d *memoryDraft) Discard() error {
	d.q.mu.Lock()
	defer d.q.mu.Unlock()
	if !d.over {
		d.q.open--
	}
	d.over = true
	return nil
}

// talk plays commands against an Intake and returns the last line of each reply,
// the greeting first. What has a line end inside is a message.
func talk(t *testing.T, s *smtpserver.Server, commands ...string) (replies []string) {
	t.Helper()
	s.Hostname = "mx.example.test"
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(server)
	}()
	defer func() { <-done }()
	defer client.Close()
	c := textproto.NewConn(client)
	read := func() {
		code, text, err := c.ReadResponse(0)
		if err != nil {
			replies = append(replies, "closed")
			return
		}
		text = text[strings.LastIndexByte(text, '\n')+1:]
		replies = append(replies, fmt.Sprintf("%d %s", code, text))
	}
	read()
	for _, command := range commands {
		if _, err := io.WriteString(client, command+"\r\n"); err != nil {
			return append(replies, "closed")
		}
		read()
	}
	return replies
}

const hello = "Subject: hello\r\n\r\nHi\r\n."

// send is an ordinary message.
var send = []string{"EHLO client.example.org", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA", hello}

func permitAll(context.Context, *mtakit.Session) (mtakit.Verdict, error) {
	return mtakit.Verdict{}, nil
}

// at gives a verdict at one stage and permits the rest.
func at(stage mtakit.Stage, v mtakit.Verdict, err error) smtpserver.Restriction {
	return smtpserver.RestrictionFunc(func(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
		if s.Stage == stage {
			return v, err
		}
		return mtakit.Verdict{}, nil
	})
}

func refuse(code int, status smtp.EnhancedCode, text string) mtakit.Verdict {
	return mtakit.Verdict{Action: mtakit.Reject, Reply: &smtp.SMTPError{Code: code, EnhancedCode: status, Message: text}}
}

func TestIntakeQueues(t *testing.T) {
	t.Parallel()
	q := &memory{}
	var events []mtakit.EventKind
	in := &smtpserver.Intake{Queue: q, Restrictions: smtpserver.RestrictionFunc(permitAll),
		Observer: mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) { events = append(events, e.Kind) })}
	replies := talk(t, &smtpserver.Server{Backend: in}, append(send, "QUIT")...)
	assert.Equal(t, []string{"250 2.1.0 Ok", "250 2.1.5 Ok", "354 End data with <CR><LF>.<CR><LF>",
		"250 2.0.0 Ok: queued as Q1", "221 2.0.0 Bye"}, replies[2:])
	assert.Equal(t, []mtakit.EventKind{mtakit.EventConnected, mtakit.EventReceived, mtakit.EventDisconnected}, events)
	require.Len(t, q.all(), 1)
	m := q.all()[0]
	assert.Equal(t, "a@example.org", m.env.Sender)
	assert.Equal(t, []mtakit.Recipient{{Address: "b@example.net"}}, m.env.Recipients)
	assert.Equal(t, "ESMTP", m.env.Client.Protocol)
	assert.Equal(t, "client.example.org", m.env.Client.HELO)
	assert.False(t, m.env.Arrival.IsZero())
	assert.Regexp(t, `^Received: from client\.example\.org \(unknown\)\r
	by mx\.example\.test \(mtakit\) with ESMTP id \w+-1\r
	for <b@example\.net>; \w{3}, [ \d]\d \w{3} \d{4} [\d:]{8} [+-]\d{4} \(.*\)\r
Subject: hello\r
\r
Hi\r
$`, m.raw)
	assert.Zero(t, q.opened())
}

// Every refusal and every fault: what the client is told, and that nothing is
// kept or left open.
func TestIntakeRefuses(t *testing.T) {
	t.Parallel()
	disk := errors.New("disk on fire")
	full := &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "Insufficient system storage"}
	no := refuse(550, smtp.EnhancedCode{5, 7, 1}, "no")
	filter := func(v mtakit.Verdict, err error) smtpserver.ContentFilter {
		return smtpserver.ContentFilterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) { return v, err })
	}
	tests := []struct {
		name string
		in   smtpserver.Intake
		q    *memory
		last string // the first reply that is no success
	}{
		{"no restrictions", smtpserver.Intake{}, &memory{}, "554 5.7.1 <b@example.net>: Relay access denied"},
		{"connect", smtpserver.Intake{Restrictions: at(mtakit.StageConnect, refuse(554, smtp.EnhancedCode{5, 7, 1}, "no"), nil)}, &memory{}, "554 5.7.1 no"},
		{"connect fault", smtpserver.Intake{Restrictions: at(mtakit.StageConnect, mtakit.Verdict{}, disk)}, &memory{}, "421 4.3.0 mx.example.test Error: temporary lookup failure"},
		{"HELO", smtpserver.Intake{Restrictions: at(mtakit.StageHELO, no, nil)}, &memory{}, "550 no"},
		{"MAIL", smtpserver.Intake{Restrictions: at(mtakit.StageMail, no, nil)}, &memory{}, "550 5.7.1 no"},
		{"MAIL fault", smtpserver.Intake{Restrictions: at(mtakit.StageMail, mtakit.Verdict{}, disk)}, &memory{}, "451 4.3.0 <a@example.org>: Temporary lookup failure"},
		{"RCPT", smtpserver.Intake{Restrictions: at(mtakit.StageRcpt, no, nil)}, &memory{}, "550 5.7.1 no"},
		{"RCPT without reply", smtpserver.Intake{Restrictions: at(mtakit.StageRcpt, mtakit.Verdict{Action: mtakit.Reject}, nil)}, &memory{}, "554 5.7.1 Access denied"},
		{"RCPT fault", smtpserver.Intake{Restrictions: at(mtakit.StageRcpt, mtakit.Verdict{}, disk)}, &memory{}, "451 4.3.0 <b@example.net>: Temporary lookup failure"},
		{"RCPT wrapped reply", smtpserver.Intake{Restrictions: at(mtakit.StageRcpt, mtakit.Verdict{}, fmt.Errorf("x: %w", full))}, &memory{}, "452 4.3.1 Insufficient system storage"},
		{"defer_if_permit at connect", smtpserver.Intake{Restrictions: at(mtakit.StageConnect, mtakit.Verdict{DeferIfPermit: full}, nil)}, &memory{}, "452 4.3.1 Insufficient system storage"},
		{"defer_if_permit at MAIL", smtpserver.Intake{Restrictions: at(mtakit.StageMail, mtakit.Verdict{DeferIfPermit: full}, nil)}, &memory{}, "452 4.3.1 Insufficient system storage"},
		{"defer_if_permit at RCPT", smtpserver.Intake{Restrictions: at(mtakit.StageRcpt, mtakit.Verdict{Action: mtakit.Permit, DeferIfPermit: full}, nil)}, &memory{}, "452 4.3.1 Insufficient system storage"},
		{"DATA", smtpserver.Intake{Restrictions: at(mtakit.StageData, no, nil)}, &memory{}, "550 5.7.1 no"},
		{"end of data", smtpserver.Intake{Restrictions: at(mtakit.StageEndOfData, no, nil)}, &memory{}, "550 5.7.1 no"},
		{"end of data fault", smtpserver.Intake{Restrictions: at(mtakit.StageEndOfData, mtakit.Verdict{}, disk)}, &memory{}, "451 4.3.0 <a@example.org>: Temporary lookup failure"},
		{"full queue", smtpserver.Intake{}, &memory{beginErr: full}, "452 4.3.1 Insufficient system storage"},
		{"broken queue", smtpserver.Intake{}, &memory{beginErr: disk}, "451 4.3.0 Error: queue file write error"},
		{"write", smtpserver.Intake{}, &memory{writeErr: disk}, "451 4.3.0 Error: queue file write error"},
		{"write, full", smtpserver.Intake{}, &memory{writeErr: full}, "452 4.3.1 Insufficient system storage"},
		{"read back", smtpserver.Intake{}, &memory{readErr: disk}, "451 4.3.0 Error: queue file write error"},
		{"commit", smtpserver.Intake{}, &memory{takeErr: disk}, "451 4.3.0 Error: queue file write error"},
		{"commit, full", smtpserver.Intake{}, &memory{takeErr: full}, "452 4.3.1 Insufficient system storage"},
		{"filter refuses", smtpserver.Intake{Filter: filter(no, nil)}, &memory{}, "550 5.7.1 no"},
		{"filter refuses without reply", smtpserver.Intake{Filter: filter(mtakit.Verdict{Action: mtakit.Reject}, nil)}, &memory{}, "550 5.7.1 Error: message content rejected"},
		{"filter defers", smtpserver.Intake{Filter: filter(mtakit.Verdict{DeferIfPermit: full}, nil)}, &memory{}, "452 4.3.1 Insufficient system storage"},
		{"filter fault", smtpserver.Intake{Filter: filter(mtakit.Verdict{}, disk)}, &memory{}, "451 4.3.0 Error: content filter failed, try again later"},
		{"filter panics", smtpserver.Intake{Filter: smtpserver.ContentFilterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) { panic(disk) })}, &memory{}, "451 4.3.0 Error: content filter failed, try again later"},
		{"filter takes all recipients", smtpserver.Intake{Filter: smtpserver.ContentFilterFunc(func(_ context.Context, env *mtakit.Envelope, _ *mtakit.Message) (mtakit.Verdict, error) {
			env.Recipients = nil
			return mtakit.Verdict{}, nil
		})}, &memory{}, "554 5.5.1 Error: no valid recipients"},
		{"rewriter fault", smtpserver.Intake{Rewriter: smtpserver.RewriterFunc(func(context.Context, string) (string, error) { return "", disk })}, &memory{}, "451 4.3.0 <a@example.org>: Temporary lookup failure"},
		{"TLS wanted", smtpserver.Intake{RequireTLS: true}, &memory{}, "530 5.7.0 Must issue a STARTTLS command first"},
		{"login wanted", smtpserver.Intake{RequireAuth: true}, &memory{}, "530 5.7.0 Authentication required"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in, q := tt.in, tt.q
			var rejected, panicked int
			in.Queue = q
			in.Observer = mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
				switch e.Kind {
				case mtakit.EventRejected:
					rejected++
					assert.Error(t, e.Err)
				case mtakit.EventPanic:
					panicked++
				}
			})
			if in.Restrictions == nil && tt.name != "no restrictions" {
				in.Restrictions = smtpserver.RestrictionFunc(permitAll)
			}
			last := ""
			for _, reply := range talk(t, &smtpserver.Server{Backend: &in, RequireHELO: true}, send...) {
				if reply[0] >= '4' {
					last = reply
					break
				}
			}
			assert.Equal(t, tt.last, last)
			assert.NotContains(t, last, "fire")
			assert.Empty(t, q.all())
			assert.Zero(t, q.opened(), "a draft was left open")
			assert.Positive(t, rejected)
			assert.Equal(t, tt.name == "filter panics", panicked == 1)
		})
	}
}

func TestIntakeWithoutQueue(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"421 4.3.0 mx.example.test Error: temporary failure, try again later"},
		talk(t, &smtpserver.Server{Backend: &smtpserver.Intake{}}))
}

// What verdicts do beside yes and no, from restrictions and from filters.
func TestIntakeEffects(t *testing.T) {
	t.Parallel()
	never := smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}}
	b, bcc := mtakit.Recipient{Address: "b@example.net"}, mtakit.Recipient{Address: "c@example.net", Options: never}
	tests := []struct {
		name string
		v    mtakit.Verdict
		want mtakit.Envelope
		top  string
	}{
		{"hold", mtakit.Verdict{Hold: "why"}, mtakit.Envelope{Hold: "why", Recipients: []mtakit.Recipient{b}}, "Received"},
		{"filter", mtakit.Verdict{Filter: "scan:here"}, mtakit.Envelope{Filter: "scan:here", Recipients: []mtakit.Recipient{b}}, "Received"},
		{"redirect", mtakit.Verdict{Redirect: "c@example.net", BCC: []string{"d@example.net"}}, mtakit.Envelope{Recipients: []mtakit.Recipient{{Address: "c@example.net"}}}, "Received"},
		{"bcc", mtakit.Verdict{BCC: []string{"c@example.net"}}, mtakit.Envelope{Recipients: []mtakit.Recipient{b, bcc}}, "Received"},
		{"prepend", mtakit.Verdict{Prepend: []string{"X-One: 1", "Evil: 1\r\nBcc: x"}}, mtakit.Envelope{Recipients: []mtakit.Recipient{b}}, "X-One"},
	}
	for _, stage := range []mtakit.Stage{mtakit.StageConnect, mtakit.StageMail, mtakit.StageRcpt, mtakit.StageData, mtakit.StageEndOfData, -1} {
		for _, tt := range tests {
			t.Run(fmt.Sprint(stage, " ", tt.name), func(t *testing.T) {
				t.Parallel()
				q := &memory{}
				in := &smtpserver.Intake{Queue: q, Restrictions: at(stage, tt.v, nil)}
				if stage < 0 {
					in.Filter = smtpserver.ContentFilterFunc(func(_ context.Context, _ *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error) {
						assert.Equal(t, 1, m.Header.Len(), "filters see what was received")
						return tt.v, nil
					})
				}
				// The recipient twice: effects are not doubled.
				talk(t, &smtpserver.Server{Backend: in}, "EHLO client.example.org", "MAIL FROM:<a@example.org>",
					"RCPT TO:<b@example.net>", "RCPT TO:<b@example.net>", "DATA", hello)
				require.Len(t, q.all(), 1)
				m, want, top := q.all()[0], tt.want, tt.top
				if stage == mtakit.StageConnect { // there is no message yet
					want, top = mtakit.Envelope{Recipients: []mtakit.Recipient{b}}, "Received"
				}
				assert.Equal(t, want.Hold, m.env.Hold)
				assert.Equal(t, want.Filter, m.env.Filter)
				assert.Equal(t, want.Recipients, m.env.Recipients)
				h, _ := mtakit.ParseHeader([]byte(m.raw))
				assert.Equal(t, top, h.At(0).Name())
				assert.Zero(t, h.Count("Bcc"))
				assert.LessOrEqual(t, h.Count("X-One"), 1)
			})
		}
	}
}

// Effects belong to one message.
func TestIntakeForgetsEffects(t *testing.T) {
	t.Parallel()
	q := &memory{}
	in := &smtpserver.Intake{Queue: q, Restrictions: smtpserver.RestrictionFunc(func(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
		if s.Stage == mtakit.StageMail && s.Envelope.Sender == "held@example.org" {
			return mtakit.Verdict{Hold: "x", Prepend: []string{"X: 1"}, DeferIfPermit: nil}, nil
		}
		return mtakit.Verdict{}, nil
	})}
	talk(t, &smtpserver.Server{Backend: in}, "EHLO c", "MAIL FROM:<held@example.org>", "RCPT TO:<b@example.net>", "DATA", hello,
		"MAIL FROM:<held@example.org>", "RSET", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA", hello)
	require.Len(t, q.all(), 2)
	assert.Equal(t, "x", q.all()[0].env.Hold)
	assert.Empty(t, q.all()[1].env.Hold)
	assert.NotContains(t, q.all()[1].raw, "X: 1")
	assert.Regexp(t, `id \w+-3\r`, q.all()[1].raw)
}

func TestIntakeDiscards(t *testing.T) {
	t.Parallel()
	for _, stage := range []mtakit.Stage{mtakit.StageMail, mtakit.StageRcpt, mtakit.StageData, mtakit.StageEndOfData, -1} {
		t.Run(stage.String(), func(t *testing.T) {
			t.Parallel()
			q := &memory{}
			discarded := 0
			in := &smtpserver.Intake{Queue: q, Restrictions: at(stage, mtakit.Verdict{Action: mtakit.Discard}, nil),
				Observer: mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
					if e.Kind == mtakit.EventDiscarded {
						discarded++
						assert.EqualValues(t, len("Subject: hello\r\n\r\nHi\r\n"), e.Size)
					}
				})}
			if stage < 0 {
				in.Filter = smtpserver.ContentFilterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
					return mtakit.Verdict{Action: mtakit.Discard}, nil
				})
			}
			replies := talk(t, &smtpserver.Server{Backend: in}, send...)
			assert.Regexp(t, `^250 2\.0\.0 Ok: queued as \w+-1$`, replies[len(replies)-1])
			assert.Empty(t, q.all())
			assert.Zero(t, q.opened())
			assert.Equal(t, 1, discarded)
		})
	}
}

func TestIntakeHops(t *testing.T) {
	t.Parallel()
	for hops, last := range map[int]string{48: "250 2.0.0 Ok: queued as Q1", 49: "554 5.4.0 Error: too many hops"} {
		q := &memory{}
		in := &smtpserver.Intake{Queue: q, Restrictions: smtpserver.RestrictionFunc(permitAll)}
		commands := append(append([]string(nil), send[:4]...), strings.Repeat("received: from x by y; z\r\n", hops)+hello)
		replies := talk(t, &smtpserver.Server{Backend: in}, commands...)
		assert.Equal(t, last, replies[len(replies)-1])
		assert.Zero(t, q.opened())
	}
}

// The queue is told the size that the client has declared, before 354.
func TestIntakeSize(t *testing.T) {
	t.Parallel()
	q := &memory{}
	in := &smtpserver.Intake{Queue: q, Restrictions: smtpserver.RestrictionFunc(permitAll)}
	talk(t, &smtpserver.Server{Backend: in}, "EHLO c", "MAIL FROM:<> SIZE=1234", "RCPT TO:<b@example.net>", "DATA")
	assert.Equal(t, []int64{1234}, q.begun)
	assert.Zero(t, q.opened(), "the client has gone inside DATA")
	assert.Empty(t, q.all())
}

func TestIntakeRewrites(t *testing.T) {
	t.Parallel()
	q := &memory{}
	var seen []string
	in := &smtpserver.Intake{Queue: q,
		Restrictions: smtpserver.RestrictionFunc(func(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
			if s.Stage == mtakit.StageRcpt {
				seen = append(seen, s.Recipient.Address)
			}
			return mtakit.Verdict{}, nil
		}),
		Rewriter: smtpserver.RewriterFunc(func(_ context.Context, a string) (string, error) {
			if strings.Contains(a, "@") {
				return a, nil
			}
			return a + "@example.test", nil
		})}
	talk(t, &smtpserver.Server{Backend: in}, "EHLO c", "MAIL FROM:<root>", "RCPT TO:<Postmaster>", "RCPT TO:<user>", "DATA", hello)
	require.Len(t, q.all(), 1)
	env := q.all()[0].env
	assert.Equal(t, "root@example.test", env.Sender)
	assert.Equal(t, []mtakit.Recipient{{Address: "Postmaster@example.test", Original: "Postmaster"},
		{Address: "user@example.test", Original: "user"}}, env.Recipients)
	assert.Equal(t, []string{"user@example.test"}, seen, "a bare postmaster is always taken")
	assert.NotContains(t, q.all()[0].raw, "for <")
}

func TestIntakeVRFY(t *testing.T) {
	t.Parallel()
	in := smtpserver.Intake{Queue: &memory{}, Restrictions: smtpserver.RestrictionFunc(func(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
		if s.Stage == mtakit.StageVRFY && s.Recipient.Address == "nobody@example.net" {
			return refuse(550, smtp.EnhancedCode{5, 1, 1}, "<nobody@example.net>: User unknown"), nil
		}
		return mtakit.Verdict{}, nil
	})}
	assert.Equal(t, []string{"250 CHUNKING", "252 2.0.0 b@example.net", "550 5.1.1 <nobody@example.net>: User unknown",
		"503 5.5.1 Error: need MAIL command", "250 2.1.0 Ok", "252 2.0.0 b@example.net", "554 5.5.1 Error: no valid recipients"},
		talk(t, &smtpserver.Server{Backend: &in}, "EHLO c", "VRFY b@example.net", "VRFY nobody@example.net",
			"RCPT TO:<b@example.net>", "MAIL FROM:<>", "VRFY b@example.net", "DATA")[1:])
	in.DisableVRFY = true
	assert.Contains(t, talk(t, &smtpserver.Server{Backend: &in}, "VRFY b@example.net"), "502 5.5.1 VRFY command is disabled")
}

func TestIntakeSubmission(t *testing.T) {
	t.Parallel()
	q := &memory{}
	users := auth.TableFunc(func(_ context.Context, user string) (string, bool, error) {
		if user == "down" {
			return "", false, errors.New("table down")
		}
		return "{PLAIN}secret", user == "alice", nil
	})
	loggedIn := smtpserver.RestrictionFunc(func(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
		if s.Login != "" {
			return mtakit.Verdict{Action: mtakit.Permit}, nil
		}
		return mtakit.Verdict{}, nil
	})
	in := &smtpserver.Intake{Queue: q, Restrictions: loggedIn, RequireAuth: true, AddMissing: loggedIn,
		Authenticator: &auth.SASL{Verifier: &auth.Passwd{Table: users}}}
	replies := talk(t, &smtpserver.Server{Backend: in, AllowInsecureAuth: true}, "EHLO c",
		"AUTH PLAIN AGFsaWNlAHdyb25n", // alice, wrong
		"AUTH PLAIN AGRvd24AeA==",     // down, x
		"AUTH LOGIN", "YWxpY2U=", "c2VjcmV0",
		"MAIL FROM:<alice@example.org>", "RCPT TO:<b@example.net>", "DATA", hello)
	assert.Equal(t, []string{"535 5.7.8 Error: authentication failed: authentication failure",
		"454 4.7.0 Temporary authentication failure", "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6",
		"235 2.7.0 Authentication successful", "250 2.1.0 Ok"}, replies[2:8])
	require.Len(t, q.all(), 1)
	m := q.all()[0]
	assert.Equal(t, "alice", m.env.Client.Login)
	assert.Equal(t, "LOGIN", m.env.Client.Mech)
	assert.Regexp(t, `(?s)with ESMTPA id .*\r\nDate: \w+, .*\r\nMessage-ID: <\d{14}\.\w+-1@mx\.example\.test>\r\nFrom: alice@example\.org\r\nSubject: hello\r\n\r\nHi`, m.raw)
}

// dns is a resolver of names that are written here.
type dns struct {
	names map[string][]string
	addrs map[string][]string
}

func (d dns) LookupAddr(_ context.Context, addr string) ([]string, error) {
	if n := d.names[addr]; n != nil {
		return n, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true}
}

func (d dns) LookupNetIP(_ context.Context, _, host string) (addrs []netip.Addr, err error) {
	for _, a := range d.addrs[host] {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	if addrs == nil {
		err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, err
}

func TestIntakeClientName(t *testing.T) {
	t.Parallel()
	forward := map[string][]string{"client.example.org.": {"192.0.2.9", "::ffff:127.0.0.1"}, "other.example.org.": {"192.0.2.1"}}
	for ptr, want := range map[string][2]string{
		"Client.Example.ORG.": {"client.example.org", "client.example.org"},
		"other.example.org.":  {"unknown", "other.example.org"},
		"gone.example.org.":   {"unknown", "gone.example.org"},
		"127.0.0.1":           {"unknown", "unknown"},
		"a\r\nX: y.org":       {"unknown", "unknown"},
		"":                    {"unknown", "unknown"},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		d := dns{addrs: forward, names: map[string][]string{}}
		if ptr != "" {
			d.names["127.0.0.1"] = []string{ptr}
		}
		var got [2]string
		s := &smtpserver.Server{Backend: &smtpserver.Intake{Queue: &memory{}, Resolver: d, Restrictions: smtpserver.RestrictionFunc(
			func(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
				got = [2]string{s.Name, s.ReverseName}
				return mtakit.Verdict{}, nil
			})}}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		c, err := smtp.Dial(l.Addr().String())
		require.NoError(t, err)
		require.NoError(t, c.Quit())
		require.NoError(t, s.Shutdown(t.Context()))
		require.ErrorIs(t, <-served, smtpserver.ErrServerClosed)
		assert.Equal(t, want, got, ptr)
	}
}
