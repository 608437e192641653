import Foundation

/// What is wrong with a saved state or an incoming stream.
public enum SavedStateError: Error, Equatable, CustomStringConvertible {
  case truncated(String)
  case corrupt(String)
  case unsupported(String)
  case mismatch(String)

  public var description: String {
    switch self {
    case .truncated(let what): "the saved state ends too early: \(what)"
    case .corrupt(let what): "the saved state is damaged: \(what)"
    case .unsupported(let what): "the saved state cannot be read by this version: \(what)"
    case .mismatch(let what): "the saved state does not fit this machine: \(what)"
    }
  }
}

/// One named, versioned part of a saved state.
///
/// The fields are JSON with sorted keys: self-describing, so that a newer build reads an older one's state, and the same
/// bytes for the same state. Bulk bytes (video memory, data buffers) go into `blob` as they are.
public struct StateSection: Equatable, Sendable {
  /// "uart1", "cpu0": the device's instance name.
  public var name: String
  /// What kind of thing wrote it: "uart16550".
  public var kind: String
  /// Of what `fields` mean; grows with each change of them.
  public var version: Int
  /// The state's properties as JSON.
  public var fields: Data
  /// Large contents as they are, such as video memory.
  public var blob: Data

  public init(name: String, kind: String, version: Int, fields: Data, blob: Data = Data()) {
    self.name = name
    self.kind = kind
    self.version = version
    self.fields = fields
    self.blob = blob
  }

  /// Encodes a state; throws what its own `encode` throws.
  public init(name: String, kind: String, version: Int, state: some Encodable, blob: Data = Data()) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    self.init(name: name, kind: kind, version: version, fields: try encoder.encode(state), blob: blob)
  }

  /// The fields as a `State`, when this is a section of that kind and of a version up to `version`;
  /// otherwise throws `SavedStateError`.
  public func decode<State: Decodable>(_ type: State.Type, kind: String, upTo version: Int) throws -> State {
    guard self.kind == kind else {
      throw SavedStateError.mismatch("section \(name) is a \(self.kind), and a \(kind) was expected")
    }
    guard (1...version).contains(self.version) else {
      throw SavedStateError.unsupported(
        "section \(name) has version \(self.version); this build reads up to \(version)")
    }
    do {
      return try JSONDecoder().decode(type, from: fields)
    } catch {
      throw SavedStateError.corrupt("section \(name): \(error)")
    }
  }
}
