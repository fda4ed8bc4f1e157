package smtpserver

import (
	"log/slog"
	"strings"
	"time"

	"github.com/mtakit/mtakit"
)

// missing appends the fields that a message must have and has not (RFC 5322,
// section 3.6; Message-ID is a should). A message that was resent lacks those of
// its last resending (section 3.6.6).
func (v *visit) missing(fields []mtakit.Field, env *mtakit.Envelope, h *mtakit.Header, at time.Time) []mtakit.Field {
	if v.in.AddMissing == nil {
		return fields
	}
	verdict, err := v.in.AddMissing.Check(v.ctx, &v.s)
	if err != nil {
		v.log(slog.LevelWarn, "missing fields are not added", "err", err)
		return fields
	}
	if verdict.Action != mtakit.Permit {
		return fields
	}
	prefix := ""
	if resent(h) {
		prefix = "Resent-"
	}
	for _, f := range [...]struct{ name, value string }{
		{"Date", now(at)},
		{"Message-ID", "<" + at.UTC().Format("20060102150405") + "." + v.transaction() + "@" + v.host + ">"},
		{"From", v.author(env)},
	} {
		if h.Count(prefix+f.name) > 0 {
			continue
		}
		field, err := mtakit.NewField(prefix+f.name, f.value)
		if err != nil {
			v.log(slog.LevelWarn, "missing field is not added", "err", err)
			continue
		}
		fields = append(fields, field)
	}
	return fields
}

// author is the envelope sender, and for the null one who writes notices.
func (v *visit) author(env *mtakit.Envelope) string {
	if env.Sender != "" && isPlain(env.Sender, env.Options.UTF8) {
		return env.Sender
	}
	return "MAILER-DAEMON@" + v.host
}

func resent(h *mtakit.Header) bool {
	for _, f := range h.All() {
		if name := f.Name(); len(name) > 7 && strings.EqualFold(name[:7], "Resent-") {
			return true
		}
	}
	return false
}
