package queue

import (
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"

	"github.com/mtakit/mtakit"
)

// The log must have what the other server said, which the result keeps apart.
func TestSaid(t *testing.T) {
	t.Parallel()
	reply := &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "Greylisted"}
	assert.Equal(t, "451 Greylisted (in reply to RCPT TO command)", said(&mtakit.Result{Reply: reply, Diagnostic: "in reply to RCPT TO command"}))
	assert.Equal(t, "Greylisted", said(&mtakit.Result{Reply: reply}))
	assert.Equal(t, "unknown user", said(&mtakit.Result{Diagnostic: "unknown user"}))
}
