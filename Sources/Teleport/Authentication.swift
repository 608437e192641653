import SavedState

/// Both sides prove that they know the password without sending anything that could be replayed: each answers the
/// other's random challenge. The key is derived from the password, salted with both nonces; the proofs cover both
/// greetings. The source proves first, so that a stranger who merely connects learns nothing to guess against.
struct Authentication {
  private let key: [UInt8]
  private let transcript: [UInt8]
  static let rounds = 4096

  init(password: String, sourceHello: [UInt8], targetHello: [UInt8]) {
    transcript = SHA256.hash(sourceHello) + SHA256.hash(targetHello)
    key = HMAC256.deriveKey(password: Array(password.utf8), salt: transcript, rounds: Self.rounds)
  }

  enum Role: String { case source, target }

  func proof(of role: Role) -> [UInt8] { HMAC256.code(Array(role.rawValue.utf8) + transcript, key: key) }

  func check(_ proof: [UInt8], of role: Role) -> Bool { HMAC256.equal(proof, self.proof(of: role)) }

  static func nonce() -> String {
    var generator = SystemRandomNumberGenerator()
    return (0..<32).map { _ in UInt8.random(in: 0...255, using: &generator) }.hexadecimal
  }

  /// 128 random bits: the name of a transfer.
  static func transferName() -> String { String(nonce().prefix(32)) }
}
