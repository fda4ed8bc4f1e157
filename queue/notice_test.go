package queue_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/dsn"
)

const double = "double-bounce@mx.example.org"

// told is a notification that somebody got.
type told struct{ from, to, kind string }

// correspondents is an agent that delivers to those in ours and does the rest
// with everything else.
func correspondents(rest func() mtakit.Result, ours ...string) (*agent, *[]told) {
	got := new([]told)
	a := new(agent)
	a.answer = func(d *mtakit.Delivery, i int) mtakit.Result {
		to := d.Recipients[i].Address
		if !slices.Contains(ours, to) {
			return rest()
		}
		subject, _ := d.Message.Header.Get("Subject")
		var body strings.Builder
		_, _ = d.Message.WriteTo(&body)
		if !strings.Contains(body.String(), "Hi\r\n") {
			subject += ", header"
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		*got = append(*got, told{d.Envelope.Sender, to, subject})
		return mtakit.Result{Outcome: mtakit.Delivered}
	}
	return a, got
}

// Who is told of a failure: RFC 5321, section 4.5.5, and Postfix's rules for
// double bounces.
func TestWhoIsToldOfFailures(t *testing.T) {
	t.Parallel()
	const failed, copied = "Your mail could not be delivered", "Postmaster copy: Your mail could not be delivered"
	never := []smtp.DSNNotify{smtp.DSNNotifyNever}
	for _, tt := range []struct {
		name, sender string
		notify       []smtp.DSNNotify
		postmaster   string
		classes      queue.Classes
		to           map[queue.Classes]string
		want         []told
	}{
		{"nobody but the sender", "a@x", nil, "", 0, nil, []told{{"", "a@x", failed}}},
		{"the postmaster hears nothing of it", "a@x", nil, "pm@x", 0, nil, []told{{"", "a@x", failed}}},
		{"a copy", "a@x", nil, "pm@x", queue.NotifyBounce, nil, []told{{"", "a@x", failed}, {double, "pm@x", copied + ", header"}}},
		{"a copy to somebody else", "a@x", nil, "pm@x", queue.NotifyBounce, map[queue.Classes]string{queue.NotifyBounce: "b@x"},
			[]told{{"", "a@x", failed}, {double, "b@x", copied + ", header"}}},
		{"a copy without a postmaster", "a@x", nil, "", queue.NotifyBounce, map[queue.Classes]string{queue.NotifyBounce: "b@x"},
			[]told{{"", "a@x", failed}, {double, "b@x", copied + ", header"}}},
		{"NOTIFY=NEVER", "a@x", never, "pm@x", 0, nil, nil},
		{"NOTIFY=NEVER and a copy", "a@x", never, "pm@x", queue.NotifyBounce, nil, []told{{double, "pm@x", copied + ", header"}}},
		{"null sender, nobody", "", nil, "", 0, nil, nil},
		{"null sender", "", nil, "pm@x", 0, nil, []told{{double, "pm@x", copied}}},
		{"null sender, NOTIFY=NEVER", "", never, "pm@x", 0, nil, []told{{double, "pm@x", copied}}},
		{"null sender, not wanted", "", nil, "pm@x", queue.NotifyResource, nil, nil},
		{"null sender, nothing wanted", "", nil, "pm@x", queue.NotifyNothing, nil, nil},
		{"null sender, bounce has it in it", "", nil, "pm@x", queue.NotifyBounce, nil, []told{{double, "pm@x", copied}}},
		{"null sender, to somebody else", "", nil, "pm@x", 0, map[queue.Classes]string{queue.Notify2Bounce: "b@x"}, []told{{double, "b@x", copied}}},
		{"double bounce", double, nil, "pm@x", queue.NotifyBounce, nil, nil},
		{"double bounce in capitals", "Double-Bounce@MX.example.org", nil, "pm@x", queue.NotifyBounce, nil, nil},
		{"double bounce of success", double, []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure}, "pm@x", queue.NotifyBounce, nil, nil},
		{"the copy cannot be delivered", "a@x", nil, "gone@y", queue.NotifyBounce, nil, []told{{"", "a@x", failed}}},
		{"the sender is gone", "gone@y", nil, "pm@x", 0, nil, []told{{double, "pm@x", copied}}},
		{"both are gone", "gone@y", nil, "gone@y", queue.NotifyBounce, nil, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool()
			a, got := correspondents(func() mtakit.Result { return bounced("no") }, "a@x", "b@x", "pm@x")
			m := manager(s, a)
			m.Postmaster, m.Notify, m.NoticeTo = tt.postmaster, tt.classes, tt.to
			serve(t, m)
			sendEnvelope(t, m, &mtakit.Envelope{Sender: tt.sender, Recipients: []mtakit.Recipient{
				{Address: "nobody@y", Options: smtp.RcptOptions{Notify: tt.notify}}}})
			sleep(time.Hour)
			assert.ElementsMatch(t, tt.want, *got, tt.name)
			assert.Zero(t, s.len(), tt.name)
		})
	}
}

func TestWhoIsToldOfDelays(t *testing.T) {
	t.Parallel()
	const late, copied = "Your mail is delayed, header", "Postmaster copy: Your mail is delayed, header"
	stranger := mtakit.Client{Addr: netip.MustParseAddrPort("192.0.2.1:1")}
	for _, tt := range []struct {
		name, sender string
		client       mtakit.Client
		notify       []smtp.DSNNotify
		classes      queue.Classes
		want         []told
	}{
		{"ours", "a@x", mtakit.Client{}, nil, 0, []told{{"", "a@x", late}}},
		{"a stranger", "a@x", stranger, nil, 0, nil},
		{"ours, and a copy", "a@x", mtakit.Client{}, nil, queue.NotifyDelay, []told{{"", "a@x", late}, {double, "pm@x", copied}}},
		{"a stranger, and a copy", "a@x", stranger, nil, queue.NotifyDelay, []told{{double, "pm@x", copied}}},
		{"ours does not want it", "a@x", mtakit.Client{}, []smtp.DSNNotify{smtp.DSNNotifyFailure}, 0, nil},
		{"ours does not want it, and a copy", "a@x", mtakit.Client{}, []smtp.DSNNotify{smtp.DSNNotifyNever}, queue.NotifyDelay, []told{{double, "pm@x", copied}}},
		{"null sender", "", mtakit.Client{}, nil, queue.NotifyDelay, nil},
		{"double bounce", double, mtakit.Client{}, nil, queue.NotifyDelay, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			a, got := correspondents(func() mtakit.Result { return deferred("later") }, "a@x", "pm@x")
			m := manager(newSpool(), a)
			m.Postmaster, m.Notify, m.WarningAfter = "pm@x", tt.classes, time.Hour
			serve(t, m)
			sendEnvelope(t, m, &mtakit.Envelope{Sender: tt.sender, Client: tt.client, Recipients: []mtakit.Recipient{
				{Address: "nobody@y", Options: smtp.RcptOptions{Notify: tt.notify}}}})
			sleep(24 * time.Hour)
			assert.ElementsMatch(t, tt.want, *got, tt.name)
		})
	}
}

func TestSessionReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := newSpool(), new(agent)
		m := manager(s, a)
		m.Postmaster = "pm@example.org"
		m.Notify = queue.NotifyPolicy | queue.NotifySoftware
		m.NoticeTo = map[queue.Classes]string{queue.NotifySoftware: "admin@example.org"}
		serve(t, m)
		client := mtakit.Client{ID: "s1", Name: "evil\r\nBcc: victim@example.org", Addr: netip.MustParseAddrPort("192.0.2.1:1")}
		m.Report(t.Context(), client, nil, "x")
		m.Report(t.Context(), client, []string{"protocol", "resource", "bounce", "2bounce", "delay", "nothing", ""}, "x")
		synctest.Wait()
		assert.Empty(t, a.all(), "none of these was asked for")

		m.Report(t.Context(), client, []string{"policy", "protocol"}, " In:  MAIL FROM:<ü@x>\n.\nOut: 550\x00\r no\n")
		synctest.Wait()
		mail := a.to("pm@example.org")
		require.Len(t, mail, 1)
		assert.Contains(t, mail[0].text, "Subject: mx.example.org SMTP server: errors from evil Bcc:\r\n victim@example.org[192.0.2.1]\r\n")
		assert.Contains(t, mail[0].text, "\r\n In:  MAIL FROM:<ü@x>\r\n.\r\nOut: 550   no\r\n")
		assert.Contains(t, mail[0].text, "charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
		assert.NotContains(t, strings.ReplaceAll(mail[0].text, "\r\n", ""), "\n")

		// Many clients do not fill the queue, and one class leaves room for others.
		for range 1000 {
			m.Report(t.Context(), client, []string{"policy"}, "x\n")
		}
		m.Report(t.Context(), client, []string{"policy", "software"}, "x\n")
		synctest.Wait()
		assert.Len(t, a.to("pm@example.org"), 20)
		assert.Len(t, a.to("admin@example.org"), 1)
		time.Sleep(time.Hour)
		for range 1000 {
			m.Report(t.Context(), client, []string{"policy"}, "x\n")
		}
		synctest.Wait()
		mail = a.to("pm@example.org")
		require.Len(t, mail, 40)
		assert.Equal(t, 1, strings.Count(strings.Join(texts(mail), ""), "982 notices like this one were not sent"))
	})
}

func texts(calls []call) (all []string) {
	for _, c := range calls {
		all = append(all, c.text)
	}
	return all
}

// A server that reports its sessions with ourselves about our reports goes on
// in a circle, but no faster than the reports are allowed.
func TestSessionReportsInACircle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m *queue.Manager
		a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result {
			m.Report(context.Background(), mtakit.Client{}, []string{"software"}, "again\n")
			return bounced("no")
		}}
		m = manager(newSpool(), a)
		m.Postmaster = "pm@example.org"
		serve(t, m)
		send(t, m, "", "b@example.net")
		sleep(time.Hour - time.Second)
		// That of the double bounce, and the first notices with what became free.
		assert.Less(t, len(a.all()), 45)
	})
}

// A report that the spool has no room for is lost, and nothing else.
func TestSessionReportWithoutRoom(t *testing.T) {
	t.Parallel()
	s := newSpool()
	s.fail = func(int, []queue.Accept, []queue.Change) error { return errDisk }
	m := manager(s, new(agent))
	m.Postmaster = "pm@example.org"
	m.Report(t.Context(), mtakit.Client{}, []string{"resource"}, "x")
	assert.Zero(t, s.len())
}

func TestPostmasterHearsOfPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		a := &agent{answer: func(d *mtakit.Delivery, _ int) mtakit.Result {
			if d.Envelope.Sender == "a@example.org" {
				panic("oops")
			}
			return mtakit.Result{Outcome: mtakit.Delivered}
		}}
		m := manager(s, a)
		m.Postmaster = "pm@example.org"
		serve(t, m)
		send(t, m, "a@example.org", "b@example.net")
		sleep(24 * time.Hour)
		mail := a.to("pm@example.org")
		require.Len(t, mail, 1)
		assert.Contains(t, mail[0].text, "is on hold")
		assert.Contains(t, mail[0].text, "oops")
	})
}

func TestPostmasterHearsOfDamage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := &unreadable{spool: newSpool(), broken: true}, new(agent)
		m := manager(s, a)
		m.Postmaster, m.Notify = "pm@example.org", queue.NotifyData
		serve(t, m)
		synctest.Wait()
		mail := a.to("pm@example.org")
		require.Len(t, mail, 1)
		assert.Contains(t, mail[0].text, "message X is damaged")
		assert.Contains(t, mail[0].text, "half of it")
		s.mend()
	})
}

func TestClasses(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]queue.Classes{
		"": queue.NotifyNothing, " , ": queue.NotifyNothing, "Bounce": queue.NotifyBounce,
		"resource, software": queue.NotifyResource | queue.NotifySoftware,
		"2bounce delay,data,policy,protocol": queue.Notify2Bounce | queue.NotifyDelay | queue.NotifyData |
			queue.NotifyPolicy | queue.NotifyProtocol,
	} {
		got, err := queue.ParseClasses(list)
		require.NoError(t, err)
		assert.Equal(t, want, got, list)
		again, err := queue.ParseClasses(got.String())
		require.NoError(t, err)
		assert.Equal(t, got, again)
	}
	_, err := queue.ParseClasses("bounces")
	require.Error(t, err)
}

func TestTextsOfNotices(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		a, _ := correspondents(func() mtakit.Result { return deferred("later") }, "a@example.org")
		m := manager(s, a)
		m.WarningAfter, m.ThreadedBounces = 4*time.Hour, true
		m.Templates.Delay = dsn.Template{Subject: "Still here", Text: "$myhostname waits $delay_warning_time_hours hours, then until $maximal_queue_lifetime_days days.\n"}
		serve(t, m)
		d, err := m.Begin(t.Context(), 0)
		require.NoError(t, err)
		_, _ = io.WriteString(d, "Message-ID: <1@example.org>\r\n\r\nHi\r\n")
		_, err = d.Commit(t.Context(), &mtakit.Envelope{Sender: "a@example.org", Recipients: []mtakit.Recipient{{Address: "b@example.net"}}}, nil)
		require.NoError(t, err)
		sleep(24 * time.Hour)
		mail := a.to("a@example.org")
		require.Len(t, mail, 1)
		assert.Contains(t, mail[0].text, "Subject: Still here\r\n")
		assert.Contains(t, mail[0].text, "In-Reply-To: <1@example.org>\r\n")
		assert.Contains(t, mail[0].text, "mx.example.org waits 4 hours, then until 5 days.\r\n")
	})
}

// A report to an ASCII address needs no SMTPUTF8, whatever it is about.
func TestInternationalNotices(t *testing.T) {
	t.Parallel()
	for sender, want := range map[string]bool{"a@example.org": false, "jürgen@example.org": true} {
		synctest.Test(t, func(t *testing.T) {
			var options smtp.MailOptions
			a := &agent{answer: func(d *mtakit.Delivery, i int) mtakit.Result {
				if d.Recipients[i].Address == sender {
					options = d.Envelope.Options
					return mtakit.Result{Outcome: mtakit.Delivered}
				}
				return bounced("ü")
			}}
			m := manager(newSpool(), a)
			serve(t, m)
			e := &mtakit.Envelope{Sender: sender, Recipients: []mtakit.Recipient{{Address: "用户@example.net"}}}
			e.Options.UTF8 = true
			sendEnvelope(t, m, e)
			synctest.Wait()
			assert.Equal(t, smtp.MailOptions{UTF8: want, Body: smtp.Body8BitMIME}, options)
		})
	}
}

// Notifications go through a filter of their own, which may expand aliases and
// must not keep the sender without an answer.
func TestNoticeFilter(t *testing.T) {
	t.Parallel()
	toB := func(env *mtakit.Envelope) { env.Recipients[0].Address = "b@x" }
	for _, tt := range []struct {
		name   string
		filter func(env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error)
		want   []told
	}{
		{"expands", func(env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error) {
			env.Sender = "forged@x"
			toB(env)
			f, _ := mtakit.NewField("Subject", "changed")
			m.Header.Replace(2, f)
			return mtakit.Verdict{}, nil
		}, []told{{"", "b@x", "changed"}}},
		{"refuses", func(env *mtakit.Envelope, _ *mtakit.Message) (mtakit.Verdict, error) {
			toB(env)
			return mtakit.Verdict{Action: mtakit.Reject, Reply: &smtp.SMTPError{Code: 550}}, nil
		}, []told{{"", "a@x", "Your mail could not be delivered"}}},
		{"refuses as an error", func(env *mtakit.Envelope, _ *mtakit.Message) (mtakit.Verdict, error) {
			toB(env)
			return mtakit.Verdict{}, &smtp.SMTPError{Code: 550}
		}, []told{{"", "a@x", "Your mail could not be delivered"}}},
		{"leads nowhere", func(env *mtakit.Envelope, _ *mtakit.Message) (mtakit.Verdict, error) {
			env.Recipients = nil
			return mtakit.Verdict{}, nil
		}, []told{{"", "a@x", "Your mail could not be delivered"}}},
		{"discards", func(*mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
			return mtakit.Verdict{Action: mtakit.Discard}, nil
		}, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool()
			a, got := correspondents(func() mtakit.Result { return bounced("no") }, "a@x", "b@x")
			m := manager(s, a)
			var up atomic.Bool // at first no table can be read
			m.NoticeFilter = queue.FilterFunc(func(_ context.Context, env *mtakit.Envelope, msg *mtakit.Message) (mtakit.Verdict, error) {
				if !up.Load() {
					return mtakit.Verdict{}, errDisk
				}
				return tt.filter(env, msg)
			})
			serve(t, m)
			send(t, m, "a@x", "nobody@y")
			synctest.Wait()
			assert.Empty(t, *got, tt.name)
			assert.Equal(t, 1, s.len(), tt.name)
			up.Store(true)
			sleep(24 * time.Hour)
			assert.Equal(t, tt.want, *got, tt.name)
			assert.Zero(t, s.len(), tt.name)
			assert.Len(t, a.to("nobody@y"), 1, tt.name)
		})
	}
}

// The sender of a list hears of each of its 50,000 recipients, once, in one report.
func TestHugeNotice(t *testing.T) {
	t.Parallel()
	const n = listSize
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		a := &agent{answer: func(d *mtakit.Delivery, _ int) mtakit.Result {
			if d.Envelope.Sender == "" {
				return mtakit.Result{Outcome: mtakit.Delivered}
			}
			return bounced(strings.Repeat("no such user ", 150))
		}}
		m := manager(s, a)
		m.Limits.Recipients = n
		serve(t, m)
		e := &mtakit.Envelope{Sender: "a@example.org"}
		for i := range n {
			e.Recipients = append(e.Recipients, mtakit.Recipient{Address: fmt.Sprintf("user%d@example.net", i)})
		}
		sendEnvelope(t, m, e)
		synctest.Wait()
		mail := a.to("a@example.org")
		require.Len(t, mail, 1)
		report, err := dsn.Read(strings.NewReader(mail[0].text))
		require.NoError(t, err)
		assert.False(t, report.Truncated)
		require.Len(t, report.Recipients, n)
		assert.Equal(t, fmt.Sprintf("user%d@example.net", n-1), report.Recipients[n-1].Address)
		assert.Contains(t, mail[0].text, fmt.Sprintf("... and %d more, which the delivery report names.\r\n", n-1000))
		assert.Less(t, len(mail[0].text), 20<<20)
	})
}
