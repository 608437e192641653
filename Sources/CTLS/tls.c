#include "CTLS.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct vm_tls {
  SSL *ssl;
  int descriptor;
  uint8_t key[VM_TLS_KEY_BYTES];
};

static const unsigned char identity[] = "vmctl";
/// TLS_AES_128_GCM_SHA256 (RFC 8446, B.4).
static const unsigned char cipher[] = {0x13, 0x01};

static SSL_CTX *client_context, *server_context;
static BIO_METHOD *socket_method;
static pthread_once_t once = PTHREAD_ONCE_INIT;

// The key as the session that both sides go on from.
static SSL_SESSION *session_of(SSL *ssl) {
  vm_tls *tls = SSL_get_app_data(ssl);
  SSL_SESSION *session = SSL_SESSION_new();
  if (session == NULL) return NULL;
  const SSL_CIPHER *suite = SSL_CIPHER_find(ssl, cipher);
  if (suite == NULL || !SSL_SESSION_set1_master_key(session, tls->key, sizeof tls->key) ||
      !SSL_SESSION_set_cipher(session, suite) || !SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION)) {
    SSL_SESSION_free(session);
    return NULL;
  }
  return session;
}

static int use_key(SSL *ssl, const EVP_MD *hash, const unsigned char **id, size_t *id_length, SSL_SESSION **session) {
  (void)hash;
  *session = session_of(ssl);
  *id = identity;
  *id_length = sizeof identity - 1;
  return *session != NULL;
}

static int find_key(SSL *ssl, const unsigned char *id, size_t id_length, SSL_SESSION **session) {
  *session = NULL;
  if (id_length == sizeof identity - 1 && memcmp(id, identity, id_length) == 0) *session = session_of(ssl);
  return 1;
}

// A socket whose end raises no signal.
static int socket_write(BIO *bio, const char *bytes, int count) {
  vm_tls *tls = BIO_get_data(bio);
  BIO_clear_retry_flags(bio);
  ssize_t done;
  do done = send(tls->descriptor, bytes, (size_t)count, MSG_NOSIGNAL);
  while (done < 0 && errno == EINTR);
  if (done < 0 && errno == EAGAIN) BIO_set_retry_write(bio);
  return (int)done;
}

static int socket_read(BIO *bio, char *bytes, int count) {
  vm_tls *tls = BIO_get_data(bio);
  BIO_clear_retry_flags(bio);
  ssize_t done;
  do done = recv(tls->descriptor, bytes, (size_t)count, 0);
  while (done < 0 && errno == EINTR);
  if (done < 0 && errno == EAGAIN) BIO_set_retry_read(bio);
  return (int)done;
}

static long socket_control(BIO *bio, int command, long number, void *pointer) {
  (void)bio, (void)number, (void)pointer;
  return command == BIO_CTRL_FLUSH;
}

static SSL_CTX *make_context(int is_client) {
  SSL_CTX *context = SSL_CTX_new(is_client ? TLS_client_method() : TLS_server_method());
  if (context == NULL) return NULL;
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
  if (is_client) {
    // Whoever does not know the key has no certificate that would be taken for it.
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_psk_use_session_callback(context, use_key);
  } else {
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_psk_find_session_callback(context, find_key);
  }
  return context;
}

static void prepare(void) {
  // The host's configuration file may not weaken this, and may not be readable.
  OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
  client_context = make_context(1);
  server_context = make_context(0);
  socket_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
  if (socket_method == NULL) return;
  BIO_meth_set_write(socket_method, socket_write);
  BIO_meth_set_read(socket_method, socket_read);
  BIO_meth_set_ctrl(socket_method, socket_control);
}

vm_tls *vm_tls_make(int descriptor, int is_client, const uint8_t key[VM_TLS_KEY_BYTES]) {
  pthread_once(&once, prepare);
  SSL_CTX *context = is_client ? client_context : server_context;
  if (context == NULL || socket_method == NULL) return NULL;
  vm_tls *tls = calloc(1, sizeof *tls);
  BIO *bio = tls ? BIO_new(socket_method) : NULL;
  if (bio) tls->ssl = SSL_new(context);
  if (tls == NULL || tls->ssl == NULL) {
    BIO_free(bio);
    free(tls);
    return NULL;
  }
  tls->descriptor = descriptor;
  memcpy(tls->key, key, sizeof tls->key);
  BIO_set_data(bio, tls);
  BIO_set_init(bio, 1);
  SSL_set_bio(tls->ssl, bio, bio);
  SSL_set_app_data(tls->ssl, tls);
  if (is_client) SSL_set_connect_state(tls->ssl); else SSL_set_accept_state(tls->ssl);
  return tls;
}

void vm_tls_free(vm_tls *tls) {
  if (tls == NULL) return;
  SSL_free(tls->ssl);
  OPENSSL_cleanse(tls->key, sizeof tls->key);
  free(tls);
}

// What has kept a call from its end.
static int outcome(vm_tls *tls, int result, int error) {
  switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ: return VM_TLS_WANTS_READ;
    case SSL_ERROR_WANT_WRITE: return VM_TLS_WANTS_WRITE;
    case SSL_ERROR_ZERO_RETURN: return VM_TLS_CLOSED;
    case SSL_ERROR_SYSCALL:
      errno = error;
      return error == 0 ? VM_TLS_CLOSED : VM_TLS_SOCKET_ERROR;
    default: break;
  }
  unsigned long reason = ERR_peek_last_error();
  ERR_clear_error();
  return ERR_GET_REASON(reason) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? VM_TLS_CLOSED : VM_TLS_NOT_AUTHENTIC;
}

int vm_tls_handshake(vm_tls *tls) {
  ERR_clear_error();
  errno = 0;
  int result = SSL_do_handshake(tls->ssl);
  if (result != 1) return outcome(tls, result, errno);
  // Nobody but who knows the key may be there, whatever else the two could agree on.
  return SSL_session_reused(tls->ssl) ? 1 : VM_TLS_NOT_AUTHENTIC;
}

long vm_tls_read(vm_tls *tls, void *bytes, size_t count) {
  size_t done = 0;
  ERR_clear_error();
  errno = 0;
  int result = SSL_read_ex(tls->ssl, bytes, count, &done);
  return result == 1 ? (long)done : outcome(tls, result, errno);
}

long vm_tls_write(vm_tls *tls, const void *bytes, size_t count) {
  size_t done = 0;
  ERR_clear_error();
  errno = 0;
  int result = SSL_write_ex(tls->ssl, bytes, count, &done);
  return result == 1 ? (long)done : outcome(tls, result, errno);
}

int vm_tls_end(vm_tls *tls) {
  ERR_clear_error();
  errno = 0;
  int result = SSL_shutdown(tls->ssl);
  return result >= 0 ? 1 : outcome(tls, result, errno);
}
