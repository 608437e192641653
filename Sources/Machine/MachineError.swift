/// What a machine could not do, and what the user can do about it.
public struct MachineError: Error, Equatable, CustomStringConvertible, Sendable {
  public var message: String
  public var remedy: String?

  public init(_ message: String, remedy: String? = nil) {
    self.message = message
    self.remedy = remedy
  }

  public var description: String { remedy.map { "\(message); \($0)" } ?? message }
}
