import CTLS
import Foundation

/// TLS 1.3 over a connected socket, between two sides that have a key in common (RFC 8446, an external PSK with ECDHE): what
/// was recorded cannot be read by who learns the key later.
final class SecureChannel {
  enum Failure: Equatable {
    /// The socket has to become readable, or writable, first.
    case wantsRead, wantsWrite
    case closed
    /// The socket failed, for a reason in `errno`'s numbers.
    case socket(Int32)
    /// The other side has another key, or somebody has changed what it sent.
    case notAuthentic

    fileprivate init(_ code: Int) {
      switch code {
      case Int(VM_TLS_WANTS_READ): self = .wantsRead
      case Int(VM_TLS_WANTS_WRITE): self = .wantsWrite
      case Int(VM_TLS_CLOSED): self = .closed
      case Int(VM_TLS_SOCKET_ERROR): self = .socket(errno)
      default: self = .notAuthentic
      }
    }
  }

  private let tls: OpaquePointer

  /// nil: out of memory.
  /// - Parameters: descriptor: a non-blocking socket that is open for as long as this is. key: 32 bytes.
  init?(descriptor: Int32, isClient: Bool, key: [UInt8]) {
    precondition(key.count == Int(VM_TLS_KEY_BYTES))
    guard let tls = vm_tls_make(descriptor, isClient ? 1 : 0, key) else { return nil }
    self.tls = tls
  }

  deinit { vm_tls_free(tls) }

  /// nil when both sides have proved themselves.
  func handshake() -> Failure? {
    let code = vm_tls_handshake(tls)
    return code == 1 ? nil : Failure(Int(code))
  }

  /// Bytes written.
  func write(_ bytes: UnsafeRawBufferPointer) -> Result<Int, Failed> {
    Self.result(vm_tls_write(tls, bytes.baseAddress, bytes.count))
  }

  /// Bytes read.
  func read(into bytes: UnsafeMutableRawBufferPointer) -> Result<Int, Failed> {
    Self.result(vm_tls_read(tls, bytes.baseAddress, bytes.count))
  }

  struct Failed: Error { var why: Failure }

  private static func result(_ code: Int) -> Result<Int, Failed> {
    code > 0 ? .success(code) : .failure(Failed(why: Failure(code)))
  }
}
