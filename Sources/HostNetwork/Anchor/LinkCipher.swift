import CSodium

/// What crosses between an anchor and the host where the machine is cannot be read, changed, repeated or left out on the way:
/// libsodium's secret stream (XChaCha20-Poly1305), one each way with a key of its own. Both come from 32 bytes that the two
/// sides of the teleport have agreed on over TLS.
struct LinkCipher {
  /// Bytes that an item grows by.
  static let overhead = 17
  /// Bytes before the first item each way.
  static let headerBytes = 24

  /// To be sent first.
  let header: [UInt8]
  private var out = crypto_secretstream_xchacha20poly1305_state()
  private var into = crypto_secretstream_xchacha20poly1305_state()
  private let readKey: [UInt8]
  private var isOpen = false

  /// nil: the key is none, or the library cannot work here.
  init?(key: [UInt8], isAnchor: Bool) {
    guard sodium_init() >= 0, key.count == 32 else { return nil }
    let keys = [0, 1].map { (number: UInt64) -> [UInt8] in
      var derived = [UInt8](repeating: 0, count: 32)
      // The context has eight bytes.
      crypto_kdf_derive_from_key(&derived, derived.count, number, "vmanchor", key)
      return derived
    }
    readKey = keys[isAnchor ? 1 : 0]
    var header = [UInt8](repeating: 0, count: Self.headerBytes)
    guard crypto_secretstream_xchacha20poly1305_init_push(&out, &header, keys[isAnchor ? 0 : 1]) == 0 else {
      return nil
    }
    self.header = header
  }

  mutating func seal(_ item: [UInt8]) -> [UInt8] {
    var sealed = [UInt8](repeating: 0, count: item.count + Self.overhead)
    crypto_secretstream_xchacha20poly1305_push(&out, &sealed, nil, item, UInt64(item.count), nil, 0, 0)
    return sealed
  }

  /// - Returns: an item; empty: it was the header. nil: the other side has not made that, or not in this place.
  mutating func open(_ sealed: [UInt8]) -> [UInt8]? {
    guard isOpen else {
      guard sealed.count == Self.headerBytes else { return nil }
      isOpen = crypto_secretstream_xchacha20poly1305_init_pull(&into, sealed, readKey) == 0
      return isOpen ? [] : nil
    }
    guard sealed.count > Self.overhead else { return nil }
    var item = [UInt8](repeating: 0, count: sealed.count - Self.overhead)
    var tag: UInt8 = 0
    let status = crypto_secretstream_xchacha20poly1305_pull(
      &into, &item, nil, &tag, sealed, UInt64(sealed.count), nil, 0)
    return status == 0 ? item : nil
  }
}
