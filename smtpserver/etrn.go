package smtpserver

import (
	"context"
	"log/slog"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// unableToQueue is RFC 1985's answer when nothing can be started.
var unableToQueue = &smtp.SMTPError{Code: 458, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Unable to queue messages"}

// ETRN has the mail for a site delivered (RFC 1985). A mark before the name,
// "@example.org" or "#example.org", means nothing more, as in Postfix.
func (v *visit) ETRN(ctx context.Context, site string) error {
	if v.in.Flusher == nil {
		return unimplementedReply
	}
	site = strings.TrimLeft(site, "@#")
	v.refresh()
	defer v.Reset() // whatever a restriction wants of a message
	if err := v.ask(mtakit.StageETRN); err != nil {
		return err
	}
	err := v.in.Flusher.FastFlush(ctx, site)
	if err == nil {
		v.log(slog.LevelInfo, "etrn", "site", site)
		return nil
	}
	reply, ok := mtakit.AsReply(err)
	if !ok {
		v.log(slog.LevelError, "etrn failed", "site", site, "err", err)
		reply = unableToQueue
	}
	return v.refused(reply, "", "")
}
