package smtpserver

import (
	"errors"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
)

// The log has a refusal as the client reads it: that is what people search for.
func TestReplyText(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "550 5.1.1 User unknown", replyText(&smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "User unknown"}))
	assert.Equal(t, "521 Go away", replyText(&smtp.SMTPError{Code: 521, EnhancedCode: smtp.NoEnhancedCode, Message: "Go away"}))
	assert.Equal(t, "table is gone", replyText(errors.New("table is gone")))
}
