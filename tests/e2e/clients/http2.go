// Two hundred requests of Go's client at once, half of them with a body; prints how many came back as they should.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

func main() {
	url := os.Args[1]
	pem, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	client := &http.Client{Transport: transport}
	var lock sync.Mutex
	var done sync.WaitGroup
	report := map[string]any{"right": 0, "wrong": 0}
	for i := 0; i < 200; i++ {
		done.Add(1)
		go func(i int) {
			defer done.Done()
			path := fmt.Sprintf("/%d", i)
			expected := []byte(path)
			var body io.Reader
			method := "GET"
			if i%2 == 1 {
				expected = bytes.Repeat([]byte{byte(i)}, i*1000)
				body, method = bytes.NewReader(expected), "POST"
			}
			request, _ := http.NewRequest(method, url+path, body)
			response, err := client.Do(request)
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				report["wrong"] = report["wrong"].(int) + 1
				return
			}
			received, err := io.ReadAll(response.Body)
			report["protocol"] = response.Proto
			if err == nil && bytes.Equal(received, expected) {
				report["right"] = report["right"].(int) + 1
			} else {
				report["wrong"] = report["wrong"].(int) + 1
			}
		}(i)
	}
	done.Wait()
	json.NewEncoder(os.Stdout).Encode(report)
}
