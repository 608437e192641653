// TLS 1.3 (RFC 8446) between two sides that share a key and nothing else: an external pre-shared key with ECDHE, no
// certificates.
#ifndef CTLS_H
#define CTLS_H

#include <stddef.h>
#include <stdint.h>

enum { VM_TLS_KEY_BYTES = 32 };

typedef struct vm_tls vm_tls;

/// What a call has come to: a number of bytes above 0, or one of these.
enum {
  /// The peer has ended the connection, orderly or not.
  VM_TLS_CLOSED = 0,
  /// The descriptor has to become readable, or writable, first.
  VM_TLS_WANTS_READ = -1,
  VM_TLS_WANTS_WRITE = -2,
  /// The socket failed: errno.
  VM_TLS_SOCKET_ERROR = -3,
  /// The peer has another key, or somebody between has changed what was sent.
  VM_TLS_NOT_AUTHENTIC = -4,
};

/// Makes one side of a connection over a non-blocking socket, which stays the caller's. NULL: out of memory.
vm_tls *vm_tls_make(int descriptor, int is_client, const uint8_t key[VM_TLS_KEY_BYTES]);
void vm_tls_free(vm_tls *);

/// 1 when both sides have proved that they know the key, else one of the values above. Called again until it has come to an
/// end.
int vm_tls_handshake(vm_tls *);
/// Bytes read or written, else one of the values above. Reads not a byte beyond the record that it takes apart.
long vm_tls_read(vm_tls *, void *bytes, size_t count);
long vm_tls_write(vm_tls *, const void *bytes, size_t count);
/// Says that nothing follows; what comes after it on the socket is not TLS.
int vm_tls_end(vm_tls *);

#endif
