// Command provider is a credential provider for tests. Its arguments are what to do: answer=TEXT prints TEXT with
// TOKEN replaced by the token of the request, log=FILE notes the request in a file, sleep=DURATION, complain=TEXT
// writes to standard error in the same way, exit=CODE, flood=BYTES, and child=FILE starts a
// program that runs for an hour and notes its number in a file; stray=FILE the same in a session of its own.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	var request struct {
		APIVersion, Kind, Image, ServiceAccountToken string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil || request.Kind != "CredentialProviderRequest" {
		fmt.Fprintln(os.Stderr, "no request")
		os.Exit(1)
	}
	for _, argument := range os.Args[1:] {
		verb, object, _ := strings.Cut(argument, "=")
		object = strings.ReplaceAll(object, "TOKEN", request.ServiceAccountToken)
		if err := do(verb, object, fmt.Sprintf("%s %s %s %s\n", request.APIVersion, request.Image, request.ServiceAccountToken, os.Getenv("TEST_VARIABLE"))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func do(verb, object, note string) error {
	switch verb {
	case "answer":
		fmt.Println(object)
	case "complain":
		fmt.Fprintln(os.Stderr, object)
	case "log":
		file, err := os.OpenFile(object, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = file.WriteString(note)
		return err
	case "sleep":
		pause, err := time.ParseDuration(object)
		if err != nil {
			return err
		}
		time.Sleep(pause)
	case "child", "stray":
		child := exec.Command("sleep", "3600")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: verb == "stray"}
		if err := child.Start(); err != nil {
			return err
		}
		return os.WriteFile(object, []byte(strconv.Itoa(child.Process.Pid)), 0o666)
	case "exit", "flood":
		number, err := strconv.Atoi(object)
		if err != nil {
			return err
		}
		if verb == "exit" {
			os.Exit(number)
		}
		fmt.Print(strings.Repeat("x", number))
	default:
		return fmt.Errorf("unknown argument %q", verb)
	}
	return nil
}
