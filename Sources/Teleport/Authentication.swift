import CSodium
import SavedState

/// How the two sides of protocol version 4 prove to each other that they know the password, and get the key of their connection
/// by that: CPace, then a proof of each side, the source's first. A stranger, on either side or between, learns whether one
/// password is the right one for each connection that it makes, and nothing that could be tried elsewhere.
struct PasswordExchange {
  enum Role: String { case source, target }

  /// What both have then.
  struct Keys {
    private let secret: [UInt8]
    private let transcript: [UInt8]

    fileprivate init(secret: [UInt8], transcript: [UInt8]) {
      self.secret = secret
      self.transcript = transcript
    }

    func proof(of role: Role) -> [UInt8] {
      HMAC256.code(Array("vmctl teleport proof \(role.rawValue)".utf8) + transcript, key: secret)
    }

    func check(_ proof: [UInt8], of role: Role) -> Bool { HMAC256.equal(proof, self.proof(of: role)) }

    /// Of the connection, 32 bytes.
    var channel: [UInt8] { HMAC256.code(Array("vmctl teleport channel".utf8) + transcript, key: secret) }
  }

  private let role: Role
  private let exchange: CPace
  private let transcript: [UInt8]

  /// - Parameters:
  ///   - password: as `stretched` makes it.
  ///   - sourceHello, targetHello: both greetings as they were sent, with their nonces.
  /// - Throws: `TeleportError.damaged` when the library cannot work here.
  init(_ role: Role, password: [UInt8], sourceHello: [UInt8], targetHello: [UInt8]) throws(TeleportError) {
    self.role = role
    transcript = SHA256.hash(sourceHello) + SHA256.hash(targetHello)
    let channel = CPace.prefixed(Array("vmctl source".utf8)) + CPace.prefixed(Array("vmctl target".utf8))
    guard let exchange = CPace(password: password, channel: channel, session: transcript) else {
      throw .damaged("no key exchange is to be had on this host")
    }
    self.exchange = exchange
  }

  /// What is sent to the other side.
  var share: [UInt8] { exchange.share }

  /// - Throws: `TeleportError.damaged` when the other side's share is none.
  func keys(_ theirs: [UInt8]) throws(TeleportError) -> Keys {
    let (source, target) = role == .source ? (share, theirs) : (theirs, share)
    guard let key = exchange.key(initiator: (source, []), responder: (target, []), peer: theirs) else {
      throw .damaged("a share of a key that is none")
    }
    return Keys(secret: key, transcript: transcript + source + target)
  }

  /// 32 bytes of a password by Argon2id (RFC 9106), which takes some tens of milliseconds and 64 MB: so much does each
  /// guess of who has got hold of a share's logarithm. The salt is the same everywhere: both sides must come to the same.
  /// - Throws: `TeleportError.damaged` when the memory is not to be had.
  static func stretched(_ password: String) throws(TeleportError) -> [UInt8] {
    let salt = Array("vmctl teleport 4".utf8)
    var key = [UInt8](repeating: 0, count: 32)
    let words = password.utf8.map { CChar(bitPattern: $0) }
    let done = crypto_pwhash(
      &key, UInt64(key.count), words, UInt64(words.count), salt,
      UInt64(crypto_pwhash_opslimit_interactive()), crypto_pwhash_memlimit_interactive(),
      crypto_pwhash_alg_argon2id13())
    guard done == 0 else { throw .damaged("no 64 MB of memory for the password's key") }
    return key
  }
}

extension Connection {
  /// The target's side of it: who knows the password talks on through TLS.
  /// - Parameter password: as `PasswordExchange.stretched` makes it.
  /// - Returns: whether the source knows it.
  func admit(
    _ password: [UInt8], sourceHello: [UInt8], targetHello: [UInt8], _ deadline: Deadline
  ) throws(TeleportError) -> Bool {
    let exchange = try PasswordExchange(
      .target, password: password, sourceHello: sourceHello, targetHello: targetHello)
    let share = try receive(timeoutMS: deadline.remainingMS, "password").expect(.proof)
    let keys = try exchange.keys(share.payload)
    try send(.proof, exchange.share, timeoutMS: max(deadline.remainingMS, 1))
    let proof = try receive(timeoutMS: deadline.remainingMS, "password").expect(.proof)
    guard keys.check(proof.payload, of: .source) else { return false }
    try send(.proof, keys.proof(of: .target), timeoutMS: max(deadline.remainingMS, 1))
    try secure(key: keys.channel, isClient: false, timeoutMS: max(deadline.remainingMS, 1))
    return true
  }
}

/// The key of a connection that settles a transfer, from the transfer's name, which only its two sides know.
enum SettlementKey {
  /// What the name is called before a stranger's ears.
  static func alias(of transfer: String) -> String {
    HMAC256.code(Array("vmctl teleport alias".utf8), key: Array(transfer.utf8)).prefix(16).hexadecimal
  }

  static func channel(of transfer: String) -> [UInt8] {
    HMAC256.code(Array("vmctl teleport settlement".utf8), key: Array(transfer.utf8))
  }
}

/// Versions 1 to 3: each side answers the other's random challenge with the password. Who listens can try passwords on what it
/// has heard; a source of version 4 does not do this any more, and a target only with a source that is older.
struct Authentication {
  private let key: [UInt8]
  private let transcript: [UInt8]
  static let rounds = 4096

  init(password: String, sourceHello: [UInt8], targetHello: [UInt8]) {
    transcript = SHA256.hash(sourceHello) + SHA256.hash(targetHello)
    key = HMAC256.deriveKey(password: Array(password.utf8), salt: transcript, rounds: Self.rounds)
  }

  typealias Role = PasswordExchange.Role

  func proof(of role: Role) -> [UInt8] { HMAC256.code(Array(role.rawValue.utf8) + transcript, key: key) }

  func check(_ proof: [UInt8], of role: Role) -> Bool { HMAC256.equal(proof, self.proof(of: role)) }

  static func nonce() -> String {
    var generator = SystemRandomNumberGenerator()
    return (0..<32).map { _ in UInt8.random(in: 0...255, using: &generator) }.hexadecimal
  }

  /// 128 random bits: the name of a transfer.
  static func transferName() -> String { String(nonce().prefix(32)) }
}
