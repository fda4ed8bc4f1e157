// Package smtpserver receives mail: it speaks SMTP and LMTP with clients.
package smtpserver
