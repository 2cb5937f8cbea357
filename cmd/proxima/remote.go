package main

import (
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"proxima/admin"
)

// remote is how a command reaches the admin listener of a running router.
type remote struct {
	server    string
	tokenFile string
	timeout   time.Duration
}

const defaultServer = "http://127.0.0.1:9090"

func (r *remote) flags(cmd *cobra.Command, server string) {
	cmd.Flags().StringVar(&r.server, "server", server, "the admin URL of a running router")
	cmd.Flags().StringVar(&r.tokenFile, "token-file", "", "a file with the admin token; else $PROXIMA_TOKEN is used")
	cmd.Flags().DurationVar(&r.timeout, "timeout", 10*time.Second, "how long the router may take to answer")
}

// client checks what the flags say; it does not connect.
func (r *remote) client(env func(string) (string, bool)) (*admin.Client, error) {
	base, err := url.Parse(r.server)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, usage("--server %q is not a URL: write it like %s", r.server, defaultServer)
	}
	token, _ := env("PROXIMA_TOKEN")
	if r.tokenFile != "" {
		text, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return nil, usage("--token-file: %w", err)
		}
		token = string(text)
	}
	if token != "" {
		if token, err = admin.ParseToken([]byte(token)); err != nil {
			return nil, usage("the token: %w", err)
		}
	}
	return &admin.Client{Base: base, Token: token, HTTP: &http.Client{Timeout: r.timeout}}, nil
}
