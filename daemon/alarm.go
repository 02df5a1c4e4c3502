//go:build unix

package daemon

import "log/slog"

// alarm is a text that is logged once when it comes, and once when it goes.
type alarm struct {
	log  *slog.Logger
	text string
}

func (a *alarm) set(text string) {
	switch {
	case text != "" && a.text == "":
		a.log.Error("alarm", "what", text)
	case text == "" && a.text != "":
		a.log.Info("alarm is over", "was", a.text)
	}
	a.text = text
}
