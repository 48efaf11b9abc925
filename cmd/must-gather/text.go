package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// flagsOf are the flags of a command, as GNU's commands take them.
func flagsOf(name string, s streams) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SetOutput(s.err)
	return flags
}

// eachLine hands over the lines of an input, without their ends.
func eachLine(in io.Reader, do func(number int, line string) error) error {
	lines := bufio.NewScanner(in)
	for number := 1; lines.Scan(); number++ {
		if err := do(number, lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// awkForm is the one program that awk knows: fields, of one line or of all.
var awkForm = regexp.MustCompile(`^\s*(?:NR\s*==\s*(\d+))?\s*\{\s*print\s+((?:\$\d+)(?:\s*,\s*\$\d+)*)\s*;?\s*\}\s*$`)

func awk(args []string, s streams) error {
	if len(args) != 1 || !awkForm.MatchString(args[0]) {
		return fmt.Errorf("%q: this one knows no programs but 'NR==n {print $n, $n}', of the standard input", args)
	}
	parts := awkForm.FindStringSubmatch(args[0])
	return eachLine(s.in, func(number int, line string) error {
		if parts[1] != "" && parts[1] != strconv.Itoa(number) {
			return nil
		}
		words := strings.Fields(line)
		var chosen []string
		for _, field := range strings.Split(parts[2], ",") {
			n, err := strconv.Atoi(strings.TrimSpace(field)[1:])
			if err != nil {
				return err
			}
			switch {
			case n == 0:
				chosen = append(chosen, line)
			case n <= len(words):
				chosen = append(chosen, words[n-1])
			default:
				chosen = append(chosen, "")
			}
		}
		_, err := fmt.Fprintln(s.out, strings.Join(chosen, " "))
		return err
	})
}

// sedForm is the one script that sed knows: a text in place of a text, which has nothing that a regular expression could mean.
var sedForm = regexp.MustCompile(`^s/([^/\\.*\[\]^$&]+)/([^/\\&]*)/(g?)$`)

func sed(args []string, s streams) error {
	if len(args) != 1 || !sedForm.MatchString(args[0]) {
		return fmt.Errorf("%q: this one knows no scripts but 's/TEXT/TEXT/' and 's/TEXT/TEXT/g', of the standard input", args)
	}
	parts := sedForm.FindStringSubmatch(args[0])
	times := 1
	if parts[3] == "g" {
		times = -1
	}
	return eachLine(s.in, func(_ int, line string) error {
		_, err := fmt.Fprintln(s.out, strings.Replace(line, parts[1], parts[2], times))
		return err
	})
}

// sortLines sorts the lines of the standard input, each once with -u.
func sortLines(args []string, s streams) error {
	flags := flagsOf("sort", s)
	unique := flags.BoolP("unique", "u", false, "each line once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return errors.New("this one sorts the standard input only")
	}
	var lines []string
	if err := eachLine(s.in, func(_ int, line string) error { lines = append(lines, line); return nil }); err != nil {
		return err
	}
	slices.Sort(lines)
	if *unique {
		lines = slices.Compact(lines)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(s.out, line); err != nil {
			return err
		}
	}
	return nil
}
