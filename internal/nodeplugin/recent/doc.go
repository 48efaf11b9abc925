// Package recent keeps an answer for a few seconds, so that whoever asks often does not decide how much work a node does.
package recent
